"""What a demo shows of itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table


@dataclass(slots=True)
class Figures:
    """How far a run is, and what it waits for.

    Attributes
    ----------
    seconds
        Since the first event was sent; it stands still once the last one is committed.
    committed
        Whether all events are sent and committed.
    """

    seconds: float = 0.0
    sent: int = 0
    done: int = 0
    lag: int = 0
    users: int = 0
    segments: int | str = 0
    changes: int = 0
    model: int = 0
    committed: bool = False
    waiting_for: str = ""

    @property
    def rate(self) -> float:
        """Events a second so far."""
        return self.done / self.seconds if self.seconds else 0.0

    def line(self) -> str:
        """Give all in one line."""
        line = (
            f"{self.seconds:4.0f} s  {self.done:,} of {self.sent:,} events  "
            f"{self.rate:,.0f}/s  lag {self.lag:,}  {self.users:,} users  "
            f"{self._segments()}  {self.changes:,} changes"
        )
        return line + (f"  waiting for {self.waiting_for}" if self.waiting_for else "")

    def _segments(self) -> str:
        """Tell how many segments there are; auto while their number is being found."""
        if not self.model:
            return "no segments yet"
        return f"{self.segments} segments (model {self.model})"

    def table(self) -> Table:
        """Give all in a table of two columns."""
        table = Table(box=None, show_header=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for name, value in (
            ("seconds", f"{self.seconds:.0f}"),
            ("events sent", f"{self.sent:,}"),
            ("events done", f"{self.done:,}"),
            ("events/s", f"{self.rate:,.0f}"),
            ("lag", f"{self.lag:,}"),
            ("users", f"{self.users:,}"),
            ("segments", self._segments()),
            ("changes", f"{self.changes:,}"),
            ("waiting for", self.waiting_for or "-"),
        ):
            table.add_row(name, value)
        return table
