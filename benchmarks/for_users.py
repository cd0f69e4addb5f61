"""What items for single users cost: CPU time of an event, and bytes of a user.

    python -m benchmarks.for_users [--users N]

The workers' stage without Kafka and without a model: a text's vector is drawn, near the centre of
one of 50 segments. Users have had twenty events, each of an item, before the window that is timed;
in there batches of 512 events of as many users, each of whom gets items anew. The same events with
`recommendations.users` and without, by turns, a few batches each, in processor time of `apply` and
what follows a commit. Lists have 50 items, with vectors.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.machine import facts
from benchmarks.markdown import columns
from benchmarks.shared import DOCS, Figures, parser, run, write_page
from consumer.contract.records import Record
from consumer.settings import Settings
from consumer.stages.segmentation.for_users import Lists, PublishedList
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from models.profiles.items import item_digests
from models.profiles.rows import ProfileRows
from models.profiles.table import ITEM_LINKS, ProfileTable, to_microseconds
from models.recommendation.for_users import ItemList
from models.segments.model import SegmentModel

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=400)
DIMENSIONS, SEGMENTS, ITEMS, LISTED, BATCH, HAD = 384, 50, 20_000, 50, 512, 20
ALL = frozenset({0})
SIDES = {"without": False, "with": True}


class Drawn:
    """An embedder that draws a vector near the centre that the text names."""

    identity = "d" * 64
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        draw = np.random.default_rng(5)
        self.centres = draw.normal(size=(SEGMENTS, DIMENSIONS))
        self.centres /= np.linalg.norm(self.centres, axis=1, keepdims=True)

    def embed(self, texts: Any) -> Any:
        """Give unit vectors, float32 (n, d)."""
        numbers = [int(text.rsplit(" ", 1)[1]) for text in texts]
        draw = np.random.default_rng(numbers[0] if numbers else 0)
        near = self.centres[np.array(numbers, np.int64) % SEGMENTS]
        vectors = near + draw.normal(scale=0.04, size=near.shape)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Fixed:
    """Lists that stay."""

    def __init__(self, lists: Lists) -> None:
        self.lists = lists

    def latest(self) -> Lists:
        """Give them."""
        return self.lists


def lists_of(centres: np.ndarray) -> Lists:
    """Make a list for each segment and one for all."""
    draw, found = np.random.default_rng(7), dict[int | None, PublishedList]()
    for segment in [None, *range(SEGMENTS)]:
        whose = draw.choice(ITEMS, LISTED, replace=False)
        scores = np.sort(draw.pareto(1.5, LISTED) * 1e-4)[::-1]
        vectors = draw.normal(scale=0.05, size=(LISTED, DIMENSIONS)) + (
            centres[draw.integers(0, SEGMENTS, LISTED)] if segment is None else centres[segment]
        )
        leading = ItemList(
            tuple(f"item-{number}" for number in whose.tolist()),
            scores,
            scores * 1000,
            1000.0,
            vectors.astype(np.float16).astype(np.float32),
        )
        found[segment] = PublishedList(START, leading)
    return found


def model_of(centres: np.ndarray) -> SegmentModel:
    """Make segments whose centres these are."""
    n = len(centres)
    return SegmentModel(
        version=1,
        embedding=Drawn.identity,
        ids=np.arange(n),
        centres=centres,
        radii=np.full(n, 0.1),
        sizes=np.full(n, 10),
        labels=tuple(f"segment {number}" for number in range(n)),
        words=((),) * n,
        since=(1,) * n,
        next_id=n,
        sample_threshold=1e-9,
        samples=100,
        seed=0,
    )


def stage_of(embedder: Drawn, lists: Lists, users: int, *, on: bool) -> SegmentationStage:
    """Make a stage with users who have had events."""
    settings = Settings.model_validate({"recommendations": {"enabled": True, "users": on}})
    stage = SegmentationStage(
        settings,
        embedder,
        FixedModel(model_of(embedder.centres)),
        intake_clock=lambda: NOW,
        lists=Fixed(lists) if on else None,
    )
    stage.assigned(0, stage.restoration(0))
    stage.maintain(idle=True)
    fill(stage.tables[0], users, embedder.centres)
    while stage.maintain(idle=True) is not None:
        stage.committed()
    return stage


def fill(table: ProfileTable, users: int, centres: np.ndarray, items: int = HAD) -> None:
    """Put users into a table who have had so many events, each of an item."""
    draw, size = np.random.default_rng(9), 1000
    for start in range(0, users, size):
        names = [f"user-{number}" for number in range(start, min(start + size, users))]
        n = len(names)
        rows = ProfileRows.empty(names, DIMENSIONS, table.memory, table.references, table.items)
        rows.segments[:] = np.arange(start, start + n) % SEGMENTS
        rows.sums[:] = centres[rows.segments] * items
        rows.weights[:], rows.events[:], rows.versions[:] = items, items, 1
        rows.reference[:] = to_microseconds(START)
        held = min(items, table.memory)
        rows.recent[:, :held] = draw.integers(1, 2**64, (n, held), np.uint64)
        rows.labels = [f"segment {segment}" for segment in rows.segments.tolist()]
        if table.items is not None:
            own = min(items, table.items)
            rows.items[:, 0] = 1
            rows.items[:, 1 : 1 + own] = item_digests(
                f"item-{number}" for number in draw.integers(0, ITEMS, n * own).tolist()
            ).reshape(n, own)
        table.put(rows)


def stream(users: int, batches: int) -> list[list[Record]]:
    """Make batches of events, each of another user in a batch, of an item each."""
    draw, found = np.random.default_rng(11), list[list[Record]]()
    for number in range(batches):
        batch = []
        for user in draw.choice(users, BATCH, replace=False).tolist():
            at = number * BATCH + len(batch)
            value = {
                "event_id": f"e{at}",
                "user_id": f"user-{user}",
                "type": "review",
                "item_id": f"item-{int(draw.integers(0, ITEMS))}",
                "text": f"a few words on something {user % SEGMENTS}",
                "language": "en",
                "occurred_at": (START + timedelta(seconds=at)).isoformat(),
            }
            key = str(value["user_id"]).encode()
            batch.append(Record("user-events", 0, at, -1, key, json.dumps(value).encode()))
        found.append(batch)
    return found


def times(users: int, rounds: int, each: int = 4) -> dict[str, Figures]:
    """Measure µs an event by side, by turns, the least of the rounds; and what was written."""
    embedder = Drawn()
    lists = lists_of(embedder.centres)
    stages = {side: stage_of(embedder, lists, users, on=on) for side, on in SIDES.items()}
    batches = stream(users, (rounds + 1) * each)
    spent: dict[str, list[float]] = {side: [] for side in SIDES}
    written = {side: [0, 0, 0] for side in SIDES}
    for number in range(rounds + 1):
        for side, stage in stages.items():
            took = 0.0
            for batch in batches[number * each : (number + 1) * each]:
                prepared = stage.prepare(batch)
                begin = time.process_time()
                outputs = stage.apply(prepared, ALL)
                stage.committed()
                took += time.process_time() - begin
                for output in outputs:
                    size = len(output.key or b"") + len(output.value or b"")
                    if output.topic == "user-recommendations":
                        written[side][0] += 1
                        written[side][1] += size
                    elif output.topic == "user-profiles":
                        written[side][2] += size
            spent[side].append(took / (each * BATCH) * 1e6)
    events = (rounds + 1) * each * BATCH
    return {
        side: {
            # The first round warms up.
            "apply_us": min(own[1:]),
            "apply_us_median": float(np.median(own[1:])),
            "records": written[side][0] / events,
            "record_bytes": written[side][1] / max(written[side][0], 1),
            "profile_bytes": written[side][2] / events,
        }
        for side, own in spent.items()
    }


def memory(users: int) -> list[Figures]:
    """Work out what each user's items take, by events that each user had, each of an item."""
    rows, centres = [], Drawn().centres
    for events in (1, 4, 20, 64):
        table = ProfileTable(DIMENSIONS, 64, items=Settings().recommendations.user_items)
        fill(table, users, centres, events)
        held = sum(slab.in_use * slab.width * slab.dtype.itemsize for slab in table.item_slabs)
        rows.append({"events": events, "bytes": held / users + ITEM_LINKS.itemsize})
    return rows


def measure(users: int, rounds: int) -> Figures:
    """Measure all."""
    with threadpool_limits(1, "blas"):  # as the worker has it
        both = times(users, rounds)
    return {
        "machine": facts(),
        "users": users,
        "rounds": rounds,
        "times": both,
        "memory": memory(min(users, 2_000)),
    }


def render(figures: Figures) -> None:
    """Write the tables into docs/recommendations.md."""
    both = figures["times"]
    row = {
        "without": both["without"]["apply_us"],
        "with": both["with"]["apply_us"],
        "more": both["with"]["apply_us"] - both["without"]["apply_us"],
        "records": both["with"]["records"],
        "bytes": both["with"]["record_bytes"],
        "state": both["with"]["profile_bytes"] - both["without"]["profile_bytes"],
    }
    write_page(
        DOCS / "recommendations.md",
        {
            "for-users-time": columns(
                [row],
                {
                    "apply, µs an event, without": "{without:.1f}",
                    "with": "{with:.1f}",
                    "difference": "{more:.1f}",
                    "records an event": "{records:.2f}",
                    "bytes a record": "{bytes:,.0f}",
                    "more in a profile's record": "{state:,.0f}",
                },
            ),
            "for-users-memory": columns(
                figures["memory"],
                {"items of a user": "{events}", "bytes a user": "{bytes:,.0f}"},
            ),
        },
    )


def main() -> None:
    made = parser(__doc__ or "", "for-users.json", page=True)
    made.add_argument("--users", type=int, default=50_000, help="users in the table")
    made.add_argument("--rounds", type=int, default=8, help="rounds that are timed")
    options = made.parse_args()
    render(run(options, lambda _: measure(options.users, options.rounds)))


if __name__ == "__main__":
    main()
