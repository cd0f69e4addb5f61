"""How long `segmenter report` takes and how large its page is, by the number of users.

Writes a replay's folder of made-up users around random centres, with changes and events, and has
the command make its page, in a process of its own. The processor's time stands beside that on the
clock, and how busy the machine was: `make bench-report ARGS="--users 3000 100000"`. It writes the
table of docs/report.md.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.machine import embedding_facts
from benchmarks.markdown import columns
from benchmarks.shared import DOCS, RESULTS, Figures, parser, run, say, write_page
from consumer.contract import folder as files
from consumer.offline.observed import LENGTHS, Details
from models.profiles.sample import rank
from schemas.arrays import encode_array
from schemas.changes import (
    ChangeCause,
    ChangeReason,
    ChangeStatus,
    ModelRef,
    ProfileSummary,
    SegmentChange,
    SegmentRef,
    structured_cloudevent,
)
from schemas.profiles import ProfileRecord
from schemas.segment_model import SegmentModelRecord, SegmentRecord

SEGMENTS, DIMENSIONS, EVENTS_A_USER = 12, 384, 6
SAMPLED, WORDS, VOCABULARY = 3_000, 16, 5_000
"""Users whose words are kept, how many of each, as by default, and of how many there are."""
_EMBEDDING = "0" * 64
_START = datetime(2026, 1, 1, tzinfo=UTC)


def write_folder(folder: Path, users: int) -> Path:
    """Write what a replay of so many users would leave; give the file of their events."""
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(SEGMENTS, DIMENSIONS))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    names = [f"thing{n}, place{n}, time{n}" for n in range(SEGMENTS)]
    model = SegmentModelRecord(
        version=3,
        embedding=_EMBEDDING,
        dimensions=DIMENSIONS,
        segments=[
            SegmentRecord(
                id=n,
                label=names[n],
                words=names[n].split(", "),
                centre=encode_array(centres[n], "<f8"),
                radius=0.5,
                size=1,
                since=1,
            )
            for n in range(SEGMENTS)
        ],
        next_id=SEGMENTS,
        sample_threshold=1.0,
        samples=1,
        seed=0,
    )
    (folder / files.MODEL).write_text(model.model_dump_json())
    events = folder / "events.jsonl"
    with (
        (folder / files.PROFILES).open("w") as profiles,
        (folder / files.CHANGES).open("w") as changes,
        events.open("w") as lines,
    ):
        for number in range(users):
            user, home = f"user-{number:07}", number % SEGMENTS
            vector = centres[home] + draw.normal(size=DIMENSIONS) / 25
            at = _START + timedelta(minutes=number * 40_000 / users)
            terms = _terms(draw, home) if rank(user) <= SAMPLED / users else {}
            profiles.write(_profile(user, home, names[home], vector, at=at, terms=terms) + "\n")
            way = [None, (home + 1) % SEGMENTS, home] if number % 3 == 0 else [None, home]
            for place, (old, new) in enumerate(pairwise(way)):
                when = at + timedelta(days=3 * place)
                change = _change(user, place + 1, old=old, new=new, names=names, at=when)
                event = structured_cloudevent(change, "bench")
                changes.write(json.dumps(event, separators=(",", ":")) + "\n")
            for event_number in range(EVENTS_A_USER):
                lines.write(_event(user, event_number, home, at) + "\n")
    counts = {"records": users * EVENTS_A_USER, "accepted": users * EVENTS_A_USER}
    summary = {**counts, "repeated": 0, "refused": 0}
    (folder / files.SUMMARY).write_text(json.dumps(summary))
    details = Details(types={}, languages={}, lengths=[0] * len(LENGTHS), typical=[], drift=None)
    (folder / files.DETAILS).write_text(details.model_dump_json())
    return events


def _terms(draw: np.random.Generator, home: int) -> dict[str, float]:
    """Give a user's words: most of them anybody's, a fourth one of fifty of the segment's."""
    own = draw.random(WORDS) < 0.25
    place = draw.integers(50, size=WORDS)
    numbers = np.where(own, home * 50 + place, draw.integers(VOCABULARY, size=WORDS))
    return {f"word{number}": 1.0 for number in numbers.tolist()}


def _profile(
    user: str,
    segment: int,
    label: str,
    vector: np.ndarray[tuple[int], np.dtype],
    *,
    at: datetime,
    terms: dict[str, float],
) -> str:
    return ProfileRecord(
        user_id=user,
        embedding=_EMBEDDING,
        vector=encode_array(vector, "<f4"),
        weight=3.0,
        reference_time=at,
        events=EVENTS_A_USER,
        repeats=0,
        recent_events="",
        terms=terms,
        segment=segment,
        segment_label=label,
        segment_since_event=1,
        sequence=1,
        model_version=3,
    ).model_dump_json()


def _change(
    user: str, sequence: int, *, old: int | None, new: int, names: list[str], at: datetime
) -> SegmentChange:
    return SegmentChange(
        user_id=user,
        sequence=sequence,
        status=ChangeStatus.ENTERED if old is None else ChangeStatus.SWITCHED,
        segment=SegmentRef(id=new, label=names[new]),
        previous_segment=None if old is None else SegmentRef(id=old, label=names[old]),
        reason=ChangeReason.BEHAVIOUR,
        cause=ChangeCause.USER,
        changed_at=at,
        occurred_at=at,
        distance=0.5,
        previous_distance=None,
        margin=0.1,
        profile=ProfileSummary(events=sequence, weight=1.0, updated_at=at),
        model=ModelRef(embedding=_EMBEDDING, version=3),
        source={"topic": "t", "partition": 0, "offset": sequence, "event_id": str(sequence)},
    )


def _event(user: str, number: int, home: int, at: datetime) -> str:
    event = {"user_id": user, "event_id": str(number), "type": "review", "rating": 1 + number % 5}
    text = f"A made-up text on thing{home} and place{home}, as long as a comment is: {number}."
    return json.dumps({**event, "text": text, "occurred_at": at.isoformat()})


def measure(users: int) -> Figures:
    """Have the command make the page of so many users; what it takes, on the clock and of cores."""
    with tempfile.TemporaryDirectory(prefix="bench-report-") as made:
        folder = Path(made)
        events = write_folder(folder, users)
        page = folder / "report.html"
        command = [sys.executable, "-m", "consumer.cli.main", "report", str(folder)]
        command += ["--input", str(events), "--output", str(page), "--label", "type"]
        load, began, before = os.getloadavg()[0], time.monotonic(), _processor_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return {
            "users": users,
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(_processor_seconds() - before, 1),
            "page_mb": round(page.stat().st_size / 1e6, 2),
            "load": round(load, 1),
        }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table_of(figures: Figures) -> str:
    """Write the table of the page."""
    return columns(
        figures["reports"],
        {
            "users": "{users:,}",
            "seconds": "{seconds:.1f}",
            "processor, seconds": "{processor_seconds:.1f}",
            "page, MB": "{page_mb:.1f}",
            "load of the machine as it began": "{load:.1f}",
        },
    )


def main() -> None:
    """Measure and write the page."""
    made = parser(__doc__ or "", "report.json", page=True)
    made.add_argument("--users", type=int, nargs="+", default=[3_000, 100_000])
    options = made.parse_args()
    figures = run(
        options,
        lambda _: {"machine": embedding_facts(), "reports": [*map(measure, options.users)]},
    )
    say(table_of(figures))
    if options.output == RESULTS / "report.json":
        write_page(DOCS / "report.md", {"report-times": table_of(figures)})


if __name__ == "__main__":
    main()
