"""A report for people."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from consumer.doctor.facts import EXIT_LATER, Finding, Report, State
from consumer.report.terminal import console
from consumer.report.wording import one_line, plural

_STYLES: dict[State, str] = {
    "fine": "green",
    "warning": "yellow",
    "failed": "red",
    "later": "red",
    "skipped": "dim",
}
_LONGEST = 1000


def render(report: Report, width: int | None = None) -> str:
    """Write a report as text.

    Parameters
    ----------
    report
        What to write.
    width
        Columns; those of the terminal where none are given.
    """
    head = f"segmenter {report.version}, to start a {report.role} here"
    return render_findings(head, report.findings, _verdict(report), width)


def render_findings(
    head: str, findings: Sequence[Finding], verdict: str, width: int | None = None
) -> str:
    """Write findings as text, a line each, with what to do below it.

    Parameters
    ----------
    head, verdict
        The first line and the last.
    findings
        What was found.
    width
        Columns; those of the terminal where none are given.
    """
    out = io.StringIO()
    page = console(out, width=width or console().width)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    following = [*findings[1:], None]
    for finding, after in zip(findings, following, strict=True):
        last = after is None or after.advice != finding.advice
        table.add_row(
            Text(finding.check), Text(finding.state, _STYLES[finding.state]), _words(finding, last)
        )
    page.print(head, highlight=False, markup=False)
    page.print()
    page.print(table)
    page.print()
    page.print(verdict, highlight=False, markup=False)
    return out.getvalue()


def _words(finding: Finding, last: bool) -> Text:
    """Write what was found, and below the last of several of one kind what to do."""
    text = Text(one_line(finding.told, _LONGEST))
    if finding.advice and last:
        text.append(f"\n{one_line(finding.advice, _LONGEST)}", "bold")
    return text


def _verdict(report: Report) -> str:
    states = [finding.state for finding in report.findings]
    warned = states.count("warning")
    said = f"; {plural(warned, 'warning')}" if warned else ""
    if not report.exit_code:
        return f"a {report.role} can start here{said}"
    if report.exit_code == EXIT_LATER:
        return f"a {report.role} cannot start yet: try again later{said}"
    wrong = states.count("failed") + states.count("later")
    return f"a {report.role} cannot start here: mend {plural(wrong, 'thing')}{said}"
