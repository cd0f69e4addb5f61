"""The texts of a file or of the input topic, as a worker would embed them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol, TypeVar

from consumer.contract.errors import ExpectedError
from consumer.offline.outcome import nothing_accepted
from consumer.settings import Settings
from consumer.stages.segmentation.cleaning import Cleaning
from consumer.stages.shared.unexpected import Faults
from schemas.dead_letters import Refusal

_TOGETHER = 2_048


class KeyedValue(Protocol):
    """What is read of a record."""

    @property
    def key(self) -> bytes | None:
        """Its key, as it came."""

    @property
    def value(self) -> bytes | None:
        """Its value, as it came."""


Progress = Callable[[int], None]
"""Told how many records were read."""

_Record = TypeVar("_Record", bound=KeyedValue)


def _nobody(_record: object, _refusal: Refusal) -> None:
    """Tell nobody."""


def clean_texts(
    records: Iterable[_Record],
    settings: Settings,
    name: str,
    progress: Progress | None = None,
    refuse: Callable[[_Record, Refusal], None] = _nobody,
) -> Iterator[str]:
    """Give the clean text of each record that is an event with words.

    Parameters
    ----------
    records
        Of the input.
    settings
        How they are read.
    name
        What they are of: the file, or the topic.
    progress
        Told from time to time how many records were read.
    refuse
        Told of each of the others, and why it is none.

    Raises
    ------
    ExpectedError
        At the end, if no record was an event with words.
    """
    cleaning = Cleaning(settings.events.intake(), Faults(), language_share=0)
    left, done, accepted = iter(records), 0, 0
    while batch := list(islice(left, _TOGETHER)):
        # No word is wanted of anybody: ranks begin at 0.
        cleaned = cleaning(
            [record.value for record in batch],
            [record.key for record in batch],
            datetime.now(UTC),
            sampled=-1,
        )
        for number, refusal in sorted(cleaned.refusals.items()):
            refuse(batch[number], refusal)
        yield from cleaned.events.texts
        accepted += len(cleaned.events.texts)
        done += len(batch)
        if progress is not None:
            progress(done)
    if not accepted:
        raise ExpectedError(nothing_accepted(name, done))
