"""What commands say of a run over a file: what was refused, what is missing, what to mind."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from consumer.offline.files import EventFile
from consumer.offline.refusals import Refusals, RefusedCount, sentences
from consumer.offline.replay import Replay, SegmentSize
from consumer.report.wording import one_line, plural
from consumer.settings import Settings
from models.embedding.manifest import Manifest
from models.embedding.runner_types import Embedder
from models.text import NOT_LOOKED_AT, UNDETERMINED

_WIDTH = 80
_LABEL_CHARS = 60
_LEAST_TEXTS = 20
_MOST_UNREAD = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """Records of a run; `users` are those with a profile."""

    records: int
    accepted: int
    repeated: int
    refused: int
    users: int


def write(out: IO[str], lines: Sequence[str]) -> None:
    """Write lines, those that are too long broken at 80 columns and indented."""
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        out.write(
            textwrap.fill(
                line,
                _WIDTH,
                subsequent_indent=indent + "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            + "\n"
        )


def refused(refusals: Refusals, file: EventFile | None, settings: Settings) -> list[str]:
    """Tell why records were refused, and what may help.

    Parameters
    ----------
    refusals
        Those of the run.
    file
        The file of events; None where they came from a topic.
    settings
        Of the run.
    """
    counts = refusals.counts()
    if not counts:
        return []
    events = settings.topics.events
    places = [_place(each, file, events) for each in counts]
    lines = ["Refused:", *(f"  {each}" for each in sentences(counts, places))]
    if hint := refusals.hint(settings.events.intake(), events):
        lines.append(f"Hint: {hint} (docs/events.md).")
    return lines


def _place(count: RefusedCount, file: EventFile | None, events: str) -> str:
    if file is None:
        return f"at {count.topic}, offset {count.record:,}"
    if count.topic == events and file.has_lines:
        return f"on line {file.line_of(count.record):,}"
    what = "" if count.topic == events else " of the labels"
    return f"in record {count.record + 1:,}{what}"


def segment_sizes(sizes: Sequence[SegmentSize]) -> list[str]:
    """Give a table of the segments: id, users, name."""
    if not sizes:
        return []
    rows = [("id", "users", "segment")] + [
        ("-" if each.id is None else f"{each.id}", f"{each.users:,}", each.label) for each in sizes
    ]
    first, second = (max(len(row[place]) for row in rows) for place in (0, 1))
    return [
        f"  {segment:>{first}}  {users:>{second}}  {one_line(label, _LABEL_CHARS)}"
        for segment, users, label in rows
    ]


def no_segments(settings: Settings, known: int) -> str:
    """Say why there are no segments.

    Parameters
    ----------
    settings
        Of the run.
    known
        Users from whom the trainer could learn.
    """
    needed = settings.training.least_users
    asked = f"training.segments = {settings.training.segments}"
    if known < needed:
        return (
            f"No segments: {asked} needs {plural(needed, 'user')} at least, and there "
            f"{'is' if known == 1 else 'are'} {known:,}."
        )
    return (
        f"No segments: training.algorithm = {settings.training.algorithm} found none among "
        f"{plural(known, 'user')}."
    )


def nothing_accepted(name: str, records: int) -> str:
    """Say that no record of a file was of use."""
    if not records:
        return f"{name} holds no records"
    return f"none of the {plural(records, 'record')} of {name} was accepted"


def unread_language(languages: Counter[str], embedder: Embedder) -> str | None:
    """Warn where most texts are in languages that the embedding model does not read.

    Parameters
    ----------
    languages
        Accepted texts by language.
    embedder
        The model; one that does not tell its languages is taken to read all.
    """
    manifest: Manifest | None = getattr(embedder, "manifest", None)
    if manifest is None or not (reads := manifest.reads):
        return None
    unknown = (UNDETERMINED, NOT_LOOKED_AT)
    known = {code: count for code, count in languages.items() if code not in unknown}
    unread = {code: count for code, count in known.items() if code not in reads}
    total, lost = sum(known.values()), sum(unread.values())
    if total < _LEAST_TEXTS or lost <= _MOST_UNREAD * total:
        return None
    most = max(unread, key=lambda code: unread[code])
    return (
        f"Warning: {lost / total:.0%} of the texts are in languages that {manifest.name} "
        f"does not read, most of them in {most}; it reads {', '.join(reads)}. Segments will follow "
        "accidents of such texts: give a model of their languages with --embedding.model "
        "(docs/operations.md)."
    )


def told(replay: Replay, file: EventFile, settings: Settings, embedder: Embedder) -> list[str]:
    """Tell what a run over a file should not be silent about."""
    stats = replay.segmentation.stats
    lines = refused(replay.refusals, file, settings)
    if replay.segmentation.model is None and stats.accepted.total():
        lines.append(no_segments(settings, replay.users_known))
    if warning := unread_language(stats.languages, embedder):
        lines.append(warning)
    return lines
