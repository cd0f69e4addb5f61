"""What of the documents is made from the code: `make docs` writes it into the pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consumer.kafka.rights import rights_reference
from consumer.kafka.topic_table import topics_reference
from consumer.report.markdown import fill
from consumer.telemetry.table import reference as metrics_reference

PAGES = Path(__file__).parents[1] / "docs"
# By the name between a page's markers; `consumer.report.markdown` says how they look.
TABLES: dict[str, Callable[[], str]] = {
    "metrics": metrics_reference,
    "rights": rights_reference,
    "topics": topics_reference,
}


def main() -> None:
    """Write every page's tables anew."""
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(fill(page.read_text(encoding="utf-8"), TABLES), encoding="utf-8")


if __name__ == "__main__":
    main()
