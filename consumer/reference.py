"""What of the documents is made from the code: `make docs` writes it into the pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consumer.kafka.rights import rights_reference
from consumer.kafka.topic_table import topics_reference
from consumer.report.markdown import code, fill, table
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


def main() -> None:
    """Write every page's tables anew."""
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(fill(page.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main()
