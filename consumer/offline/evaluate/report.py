"""The figures as tables for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from consumer.offline.evaluate.contents import PRODUCT, Figures, Group, Row
from consumer.offline.evaluate.supervised import LabelGroup, LabelRow, Supervised
from consumer.offline.evaluate.users import LEAST_SCORED_USERS
from consumer.report.terminal import FittedTable
from consumer.report.wording import one_line, plural
from models.labels.offline import FOLDS
from schemas.changes import ChangeCause

_NONE = "-"
_SHOWN_LABELS = 12
_SHOWN_NUMBERS = 4


def render(console: Console, figures: Figures) -> None:
    """Print the figures; everything as `Text`, so that no label is read as markup."""
    counts = figures.counts
    console.print(
        Text(
            f"{counts.records:,} records: {counts.accepted:,} accepted, {counts.repeated:,} "
            f"repeated, {counts.refused:,} refused; {plural(counts.users, 'user')}"
        ),
    )
    if figures.model_version is None:
        if counts.accepted:
            console.print(Text(_no_model(figures)))
        return
    found = " (found)" if figures.segments_found else ""
    console.print(
        Text(
            f"{plural(len(figures.segments), 'segment')}{found}, model version "
            f"{figures.model_version}"
        ),
    )
    tables = [_segments(figures)]
    if any(group.rows for group in figures.groups):
        if figures.label is not None:
            tables.append(_agreement(figures))
        tables.append(_internal(figures))
    tables.append(_flapping(figures))
    if figures.numbers:
        tables.append(_numbers(figures))
    if (labels := figures.supervised) is not None and any(group.rows for group in labels.groups):
        tables += [_labels(labels), _label_confusion(labels)]
    for table in tables:
        console.print()
        console.print(table)
    console.print()
    for line in _sentences(figures):
        console.print(Text(line))


def _numbers(figures: Figures) -> FittedTable:
    """Show the evidence around the number that was found."""
    table = FittedTable("Numbers of segments looked at", "segments", "nearest two are apart")
    place = min(
        range(len(figures.numbers)),
        key=lambda row: abs(figures.numbers[row].segments - len(figures.segments)),
    )
    around = slice(max(0, place - _SHOWN_NUMBERS), place + _SHOWN_NUMBERS + 1)
    for point in figures.numbers[around]:
        table.add_row(f"{point.segments:,}", f"{point.apart:.2f} of what is asked")
    return table


def _segments(figures: Figures) -> FittedTable:
    columns = ["segment", "users"]
    if figures.label is not None:
        columns += ["main label", "share of it"]
    table = FittedTable("Segments at the end", *columns)
    for segment in figures.segments:
        cells = [f"{segment.id:>3} {one_line(segment.label, 50)}", f"{segment.users:,}"]
        if figures.label is not None:
            cells += [one_line(segment.main_label or _NONE, 30), _figure(segment.main_share, 2)]
        table.add_row(*cells)
    return table


def _agreement(figures: Figures) -> FittedTable:
    names = {"v_measure": "V-measure", "adjusted_rand": "adj. Rand", "purity": "purity"}
    title = f"Agreement with “{figures.label}”"
    table = FittedTable(title, "", "clusters", *names.values(), "V by seeds")
    prequential = figures.prequential
    if prequential is not None and (found := prequential.agreement) is not None:
        table.add_row("events, each assigned before it was learned", style="italic")
        _measured(table, PRODUCT, f"{len(figures.segments)}", found, names, "")
    for group in figures.groups:
        table.add_row(_title(group), style="italic")
        for row in group.rows:
            _measured(table, row.name, f"{row.asked}", row.agreement, names, _spread(row))
    return table


def _internal(figures: Figures) -> FittedTable:
    names = {
        "silhouette": "silhouette",
        "simplified_silhouette": "simplified",
        "cohesion": "cohesion",
        "separation": "separation",
        "davies_bouldin": "Davies-B.",
        "calinski_harabasz": "Calinski-H.",
    }
    table = FittedTable("Without labels", "", "clusters", *names.values())
    for group in figures.groups:
        table.add_row(_title(group), style="italic")
        for row in group.rows:
            _measured(table, row.name, f"{row.asked}", row.internal, names)
    return table


def _measured(
    table: FittedTable,
    name: str,
    count: str,
    found: object | None,
    names: Mapping[str, str],
    *more: str,
) -> None:
    """Add a row of measures, the attributes of what was found; the product's is in bold."""
    cells = [
        _figure(getattr(found, measure, None), 0 if measure == "calinski_harabasz" else 3)
        for measure in names
    ]
    table.add_row(name, count, *cells, *more, style="bold" if name.startswith(PRODUCT) else "")


def _spread(row: Row | LabelRow) -> str:
    """Say between what several seeds lie."""
    found = row.v_measures if isinstance(row, Row) else row.macro_f1s
    return "" if found is None or row.seeds < 2 else f"{found[0]:.3f} to {found[1]:.3f}"


def _flapping(figures: Figures) -> FittedTable:
    causes = [ChangeCause.USER.value, ChangeCause.MODEL.value]
    reasons = sorted({reason for each in figures.flapping for reason in each.by_reason})
    table = FittedTable(
        "Changes of segment",
        "users",
        "changes a user",
        "switches a user",
        *(f"by the {cause}" for cause in causes),
        *reasons,
    )
    for each in figures.flapping:
        least = "all" if each.least_events <= 1 else f"with ≥ {each.least_events} events"
        table.add_row(
            f"{each.users:,} {least}",
            _figure(each.changes_a_user, 2),
            _figure(each.switches_a_user, 2),
            *(_figure(each.switches_a_user_by_cause[cause], 2) for cause in causes),
            *(f"{each.by_reason.get(reason, 0):,}" for reason in reasons),
        )
    return table


def _labels(supervised: Supervised) -> FittedTable:
    names = {"accuracy": "accuracy", "macro_recall": "recall", "macro_precision": "precision"}
    names["macro_f1"] = "F1"
    title = f"Labels learned ({supervised.classifier})"
    table = FittedTable(title, "", "profiles", *names.values(), "F1 by seeds")
    for group in supervised.groups:
        few = (
            f": means over {plural(group.labels, 'label')}"
            if group.rows
            else ": too few for scores"
        )
        table.add_row(_members(group, "labelled user") + few, style="italic")
        for row in group.rows:
            _measured(table, row.name, f"{row.count:,}", row, names, _spread(row))
    return table


def _label_confusion(supervised: Supervised) -> FittedTable:
    confusion = supervised.confusion
    labels = confusion.labels[:_SHOWN_LABELS]
    table = FittedTable(
        "Labels, each predicted before it was learned",
        "given ↓ predicted →",
        *(one_line(label, 16) for label in labels),
    )
    for label, counts in zip(labels, confusion.counts, strict=False):
        table.add_row(one_line(label, 30), *(f"{count:,}" for count in counts[:_SHOWN_LABELS]))
    return table


def _no_model(figures: Figures) -> str:
    users, needed = figures.counts.users, figures.least_users
    if users < needed:
        return f"too few users for a segment model: {needed:,} are needed, there are {users:,}"
    return f"no segment model: none was found among {plural(users, 'user')}"


def _sentences(figures: Figures) -> list[str]:
    lines = []
    if not any(group.rows for group in figures.groups):
        lines.append(
            f"No scores: there are {plural(figures.counts.users, 'user')}, and scores need "
            f"{LEAST_SCORED_USERS}."
        )
    if (labels := figures.supervised) is not None:
        lines.append(
            f"Labels: {labels.examples:,} profiles learned, {plural(labels.versions, 'version')} "
            f"of the label model, {labels.left_out:,} profiles of further labels left out."
        )
        if rare := labels.groups[0].left_out:
            lines.append(
                f"Left out of the comparison of labels: {plural(rare, 'user')} whose label fewer "
                f"than {FOLDS} users have."
            )
    if figures.lifecycle:
        told = ", ".join(f"{number:,} {fate}" for fate, number in figures.lifecycle.items())
        lines.append(f"Segments over all versions: {told}.")
    if (prequential := figures.prequential) is not None:
        lines.append(
            f"Events left out of the comparison: {prequential.without_label:,} without a label, "
            f"{prequential.without_segment:,} before the user had a segment."
        )
    if (lag := figures.lag) is not None:
        if lag.known:
            lines.append(
                f"Known changes of a user's label: {lag.known:,}, followed {lag.followed:,}, after "
                f"{_figure(lag.median, 1)} events (median), {_figure(lag.mean, 1)} (mean)."
            )
        else:
            lines.append("No user's label is known to have changed, so no lag can be told.")
    return lines


def _members(group: Group | LabelGroup, noun: str) -> str:
    least = "" if group.least_events <= 1 else f" with {group.least_events} events or more"
    return plural(group.users, noun) + least


def _title(group: Group) -> str:
    text = _members(group, "user")
    if group.users < LEAST_SCORED_USERS:
        return f"{text}: too few for scores, which need {LEAST_SCORED_USERS}"
    if group.without_segment:
        text += f", {group.without_segment:,} in no segment"
    return text


def _figure(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:,.{digits}f}"
