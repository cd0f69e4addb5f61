"""What float16 changes: a stream of labelled events through worker and trainer in either precision.

    python -m benchmarks.precision --vectors vectors.npz

Once with a trainer, which learns from the profiles and so publishes other centres in the last
digits, and once with the last segments of the first such run kept: there the precision alone
differs. A change counts as the same if user, status, segment and time of the event are; by how much
the distances to the segment differ in those shows that the precisions do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import facts
from benchmarks.shared import Figures, parser, run, say
from benchmarks.worker_stage import event_vectors, lookup_of, records_of, truth_of
from consumer.contract.records import Output, Record
from consumer.offline.files import read_lines
from consumer.offline.replay import Replay
from consumer.settings import Settings
from models.embedding.runner_types import Embedder
from models.measures.agreement import agreement
from models.segments.model import SegmentModel

PRECISIONS = ("float32", "float16")
Change = tuple[str, str, int | None, str | None]
"""User, status, segment and time of the event."""


def changes_of(
    records: Sequence[Record], embedder: Embedder, precision: str, model: SegmentModel | None
) -> tuple[dict[Change, float], Replay]:
    """Run events through worker and trainer, or with a model that stays.

    Returns
    -------
    tuple
        The changes, each with its distance to the segment, and what made them.
    """
    settings = Settings()
    profile = settings.profile.model_copy(update={"precision": precision})
    replay = Replay(settings.model_copy(update={"profile": profile}), embedder, model)
    changes: dict[Change, float] = {}

    def note(output: Output) -> None:
        if output.topic == settings.topics.changes and output.value is not None:
            said = json.loads(output.value)
            segment = said["segment"] and said["segment"]["id"]
            change = said["user_id"], said["status"], segment, said["occurred_at"]
            changes[change] = said["distance"] or 0.0

    replay.run(records, note)
    return changes, replay


def v_measure(replay: Replay, topics: dict[str, str], least: int) -> float:
    """Compare the segments of users of so many events with what they write about."""
    table = replay.segmentation.tables[0]
    rows = table.gather([user for user in table.users if user in topics])
    users = np.flatnonzero(rows.events >= least).tolist()
    return agreement(
        [topics[rows.users[row]] for row in users], [int(rows.segments[row]) for row in users]
    ).v_measure


def compare(records: Sequence[Record], lines: Sequence[bytes], embedder: Embedder) -> Figures:
    """Compare the precisions on a stream."""
    _, topics = truth_of(lines)
    model: SegmentModel | None = None
    figures: Figures = {}
    for kind in ("trained", "kept"):
        runs = {name: changes_of(records, embedder, name, model) for name in PRECISIONS}
        single, half = (changes for changes, _ in runs.values())
        same = single.keys() & half.keys()
        figures[kind] = {
            "changes": {name: len(changes) for name, (changes, _) in runs.items()},
            "only_in": {"float32": len(single) - len(same), "float16": len(half) - len(same)},
            "other_distances": sum(single[change] != half[change] for change in same),
            "largest_difference": max(abs(single[change] - half[change]) for change in same),
            "v_measure": {
                name: {str(least): round(v_measure(replay, topics, least), 4) for least in (1, 10)}
                for name, (_, replay) in runs.items()
            },
        }
        say(f"{kind}: {figures[kind]}")
        model = runs["float32"][1].segmentation.model
    return figures


def main() -> None:
    arguments = parser(__doc__ or "", "precision.json", events=True).parse_args()

    def measure(_: Path) -> Figures:
        accepted, vectors = event_vectors(arguments.data, arguments.vectors)
        lines = list(read_lines(arguments.data))
        records = records_of(lines)
        embedder: Any = lookup_of(records, accepted.tolist(), vectors)
        return {"machine": facts()} | compare(records, lines, embedder)

    run(arguments, measure)


if __name__ == "__main__":
    main()
