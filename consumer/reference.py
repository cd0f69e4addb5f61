"""What of the documents is made from the code: `make docs` writes it into the pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consumer.kafka.rights import rights_reference
from consumer.kafka.strimzi import strimzi_topics, strimzi_users
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


PAGES = Path(__file__).parents[1] / "docs"
# By the name between a page's markers; `consumer.report.markdown` says how they look.
TABLES: dict[str, Callable[[], str]] = {
    "metrics": metrics_reference,
    "rights": rights_reference,
    "settings of the commands": settings_reference,
    "topics": topics_reference,
}


def manifests() -> dict[str, str]:
    """Give what of deploy/k8s is made from the code, by file."""
    settings = Settings()
    made = "# Made by `make docs`; `segmenter topics strimzi` writes them for your settings.\n"
    return {
        "components/strimzi/topics.yaml": made + strimzi_topics(settings),
        "components/strimzi/users.yaml": made + strimzi_users(settings),
        "components/monitoring/rules.yaml": _rules(),
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
