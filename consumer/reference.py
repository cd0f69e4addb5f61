"""What of the documents is made from the code: `make docs` writes it into the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path

from pydantic import BaseModel

from consumer.kafka.rights import rights_reference
from consumer.kafka.strimzi import strimzi_additions, strimzi_topics, strimzi_users
from consumer.kafka.topic_table import topics_reference
from consumer.report.markdown import code, fill, table
from consumer.settings import Settings
from consumer.settings.commands import EVERYTHING, FINDS_USERS, TOPIC_NAMES, USES
from consumer.telemetry.table import reference as metrics_reference


def settings_reference() -> str:
    """Write which settings each command uses."""
    told = {EVERYTHING: "all", TOPIC_NAMES: "the names in `topics`"}
    told[FINDS_USERS] = "what of `events.mapping` finds the user"
    rows = []
    for command, used in USES.items():
        groups = {each: text for each, text in told.items() if {*each} <= {*used}}
        apart = {*used} - {name for each in groups for name in each}
        single = [code(name) for name in used if name in apart]
        rows.append((code(f"segmenter {command}"), ", ".join([*single, *groups.values()])))
    return table(("command", "sections, and single settings of others"), rows)


def every_setting() -> str:
    """Write each setting, a table a section."""
    parts = []
    for section, field in Settings.model_fields.items():
        model = _model(field.annotation)
        said = (model.__doc__ or "").strip().partition("\n")[0]
        rows = list(_settings(model, section))
        parts.append(f"## {section}\n\n{said}\n\n{table(('setting', 'default', ''), rows)}")
    return "\n".join(parts).strip("\n")


def _settings(model: type[BaseModel], place: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        if inner is not BaseModel:
            yield from _settings(inner, f"{place}.{name}")
            continue
        default = field.get_default(call_default_factory=True)
        yield code(f"{place}.{name}"), _default(default), field.description or ""


def _model(kind: object) -> type[BaseModel]:
    """Give the model that a field is of; BaseModel itself where it is of none."""
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else BaseModel


def _default(value: object) -> str:
    if value is None or (isinstance(value, Sized) and not len(value)):
        return "none"
    if isinstance(value, Mapping):
        return "; ".join(code(f"{name} = {each}") for name, each in value.items())
    return code(str(value).lower() if isinstance(value, bool) else str(value))


PAGES = Path(__file__).parents[1] / "docs"
# By the name between a page's markers; `consumer.report.markdown` says how they look.
TABLES: dict[str, Callable[[], str]] = {
    "all settings": every_setting,
    "metrics": metrics_reference,
    "rights": rights_reference,
    "settings of the commands": settings_reference,
    "topics": topics_reference,
}


def manifests() -> dict[str, str]:
    """Give what of deploy/k8s is made from the code, by file."""
    settings = Settings()
    files = {
        "components/strimzi/topics.yaml": _MADE + strimzi_topics(settings),
        "components/strimzi/users.yaml": _MADE + strimzi_users(settings),
        "components/monitoring/rules.yaml": _rules(),
    }
    for role, section in ROLES_BESIDE.items():
        files |= _beside(role, section)
    return files


_MADE = "# Made by `make docs`; `segmenter topics strimzi` writes them for your settings.\n"
ROLES_BESIDE = {"recommender": "recommendations", "rules": "rules"}
"""By component of deploy/k8s, the section whose `enabled` switches it on."""


def _beside(role: str, section: str) -> dict[str, str]:
    """Write what Strimzi needs for a role that is not in the base, as a component."""
    enabled = {each: {"enabled": True} for each in ROLES_BESIDE.values()}
    settings = Settings.model_validate({section: enabled[section]})
    added = strimzi_additions(Settings(), settings, Settings.model_validate(enabled))
    kustomization = f"""{_MADE}# Behind ../ and ../../{role} in the list of components.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component

resources:
  - topics.yaml
  - users.yaml

patches:
  - path: {role}.yaml
{added.patches}"""
    folder = f"components/strimzi/{role}"
    return {
        f"{folder}/kustomization.yaml": kustomization,
        f"{folder}/topics.yaml": _MADE + added.topics,
        f"{folder}/users.yaml": _MADE + added.users,
    }


def _rules() -> str:
    """Wrap the rules of Prometheus as its operator takes them."""
    text = (PAGES.parent / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8")
    head = """# Made from deploy/prometheus/rules.yaml by `make docs`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: segmenter
  labels:
    app.kubernetes.io/name: segmenter
spec:
"""
    lines = text[text.index("groups:") :].splitlines()
    return head + "".join(f"  {line}\n" if line else "\n" for line in lines)


def main() -> None:
    """Write every page's tables and every made manifest anew."""
    for name, text in manifests().items():
        (PAGES.parent / "deploy" / "k8s" / name).write_text(text, encoding="utf-8")
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(fill(page.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main()
