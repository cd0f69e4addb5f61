"""Every setting of every process, in one class; each section has a module of its own.

Read, the first wins: flags, environment (`SEGMENTER_KAFKA__GROUP_ID=...`), a TOML file (`--config`
or SEGMENTER_CONFIG), the defaults. Durations are seconds unless the name says otherwise.

The sections that say how something is computed (`embedding`, `profile`, `assignment`,
`training`, `labels`, `drift`) are the policies of `models`, which take them as they are.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from consumer.settings.batch import BatchSettings
from consumer.settings.dead_letters import DeadLetterSettings
from consumer.settings.events import EventSettings
from consumer.settings.http import HttpSettings
from consumer.settings.kafka import KafkaSettings, is_secret
from consumer.settings.log import LogSettings
from consumer.settings.recommendations import RecommendationSettings
from consumer.settings.report import ReportSettings
from consumer.settings.restore import RestoreSettings
from consumer.settings.topics import TopicSettings
from models.clustering.policy import ClusteringPolicy
from models.drift.policy import DriftPolicy
from models.embedding.policy import EmbeddingPolicy
from models.labels.policy import LabelPolicy
from models.profiles.policy import ProfilePolicy
from models.rules.policy import RulePolicy
from models.segments.policy import AssignmentPolicy
from schemas.user_labels import LabelIntake

__all__ = [
    "CONFIG_VARIABLE",
    "PREFIX",
    "BatchSettings",
    "DeadLetterSettings",
    "EventSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogSettings",
    "RecommendationSettings",
    "ReportSettings",
    "RestoreSettings",
    "Settings",
    "SettingsFileError",
    "TopicSettings",
]

PREFIX = "SEGMENTER_"
CONFIG_VARIABLE = "SEGMENTER_CONFIG"
_MASK = "********"


class SettingsFileError(ValueError):
    """The settings file is not there, or is no TOML."""


class _Environment(EnvSettingsSource):
    """Passes on misspelt sections too, which are then refused as unknown names are.

    Only names with the double underscore are ours: a cluster's service links (SEGMENTER_PORT) are
    not.
    """

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        for name, value in self.env_vars.items():
            prefix, _, rest = name.upper().partition("_")
            section, delimiter, _ = rest.lower().partition("__")
            if (
                f"{prefix}_" == PREFIX
                and delimiter
                and section not in self.settings_cls.model_fields
            ):
                found[rest.lower().strip("_").replace("__", ".")] = value
        return found


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    embedding: EmbeddingPolicy = Field(default_factory=EmbeddingPolicy)
    profile: ProfilePolicy = Field(default_factory=ProfilePolicy)
    assignment: AssignmentPolicy = Field(default_factory=AssignmentPolicy)
    training: ClusteringPolicy = Field(default_factory=ClusteringPolicy)
    labels: LabelPolicy = Field(default_factory=LabelPolicy)
    drift: DriftPolicy = Field(default_factory=DriftPolicy)
    recommendations: RecommendationSettings = Field(default_factory=RecommendationSettings)
    rules: RulePolicy = Field(default_factory=RulePolicy)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    restore: RestoreSettings = Field(default_factory=RestoreSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)

    @model_validator(mode="after")
    def _prefixed_group(self) -> Self:
        prefix, kafka = self.topics.prefix, self.kafka
        if prefix is not None and "group_id" not in kafka.model_fields_set:
            group = {"group_id": prefix + kafka.group_id}
            self.__dict__["kafka"] = kafka.model_copy(update=group)
        return self

    @model_validator(mode="after")
    def _timing_chain(self) -> Self:
        kafka = self.kafka
        if kafka.transaction_timeout_seconds >= kafka.max_poll_interval_seconds:
            raise ValueError(
                f"kafka.transaction_timeout_seconds ({kafka.transaction_timeout_seconds}) must be "
                f"below kafka.max_poll_interval_seconds ({kafka.max_poll_interval_seconds})"
            )
        return self

    @model_validator(mode="after")
    def _no_labels_while_models_change(self) -> Self:
        if self.labels.enabled and self.embedding.former.model is not None:
            raise ValueError(
                "embedding.former.model is set, and labels.enabled is true: a group with labels "
                "is changed to another embedding model while it is stopped, with 'segmenter "
                "migrate'; leave embedding.former out"
            )
        return self

    def changed(self, section: str, **values: object) -> Self:
        """Give these settings with some values of one section replaced; they are not checked."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=values)})

    def labels_intake(self) -> LabelIntake:
        """Give the reader of labels that these settings describe."""
        return LabelIntake(timedelta(seconds=self.events.max_future_skew_seconds), self.labels.key)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; the file is the one that SEGMENTER_CONFIG names."""
        sources = [init_settings, _Environment(settings_cls)]
        if path := os.environ.get(CONFIG_VARIABLE):
            if not Path(path).is_file():
                raise SettingsFileError(f"the settings file {path} does not exist")
            try:
                sources.append(TomlConfigSettingsSource(settings_cls, path))
            except (OSError, ValueError) as error:  # no TOML, no UTF-8
                raise SettingsFileError(f"cannot read the settings file {path}: {error}") from error
        return tuple(sources)

    def masked(self) -> dict[str, Any]:
        """Give the effective settings as JSON-ready values, secrets masked."""
        return _masked("", self.model_dump(mode="json"))


def _masked(path: str, values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _masked(f"{path}{name}.", value)
        if isinstance(value, dict)
        else _MASK
        if is_secret(path + name)
        else value
        for name, value in values.items()
    }
