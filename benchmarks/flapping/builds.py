"""Switches of segment that the model causes, before and after: the build at 48f6e1e and this one.

    python -m benchmarks.stability --only builds --vectors vectors.npz

Both builds replay the same streams, with the same vectors: real posts, made-up users of many
interests, and a trickle, where the trainer has the time to look after every event. Nothing is
timed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.flapping.report import BLUE, PALE_BLUE
from benchmarks.interests import plan
from benchmarks.interests.plan import Shape
from benchmarks.interests.texts import vectors_like_texts
from benchmarks.markdown import Cell, columns
from benchmarks.pipeline.checkouts import ROOT, Checkout
from benchmarks.shared import DOCS, Figures, say
from benchmarks.worker_stage import event_vectors
from consumer.offline.files import read_lines
from consumer.report.pictures import blank, dress, png
from models.embedding.runner_types import Vectors

PICTURE = DOCS / "stability-builds.png"
DRIVER = Path(__file__).parent / "driver.py"
LEAST_EVENTS = 10
"""Of users whose V-measure at the end is told."""
TRICKLE = 100
"""Events of a trickle, one every `EVERY`: longer than the trainer waits for more."""
EVERY = timedelta(seconds=4)
USERS = 2000
"""Of a made-up stream."""
_KEPT = ("event_id", "user_id", "type", "occurred_at", "label")


@dataclass(frozen=True)
class Stream:
    """Events, each with a vector.

    Attributes
    ----------
    name
        What the table says.
    segments
        A number of segments, or `auto`.
    events
        As for the input topic; their texts are numbers of vectors.
    vectors
        float32[n, d].
    lead
        Events before those that come one by one; None where all come as they are.
    """

    name: str
    segments: str
    events: list[dict[str, Any]]
    vectors: Vectors
    lead: int | None = None


def posts(path: Path, stored: Path) -> tuple[list[dict[str, Any]], Vectors]:
    """Read the accepted events of a file."""
    lines = list(read_lines(path))
    rows, vectors = event_vectors(path, stored)
    return [json.loads(lines[row]) for row in rows.tolist()], vectors


def made_up(shape: Shape) -> tuple[list[dict[str, Any]], Vectors]:
    """Make up the events of a shape of stream."""
    planned = plan.plan(shape)
    return list(plan.events(planned)), plan.posts(planned, vectors_like_texts()).vectors


def trickling(stream: Stream, count: int = TRICKLE) -> Stream:
    """Let the events in the middle of a stream come one by one, and end it there."""
    lead = len(stream.events) // 2
    first = datetime.fromisoformat(stream.events[lead]["occurred_at"]).astimezone(UTC)
    slow = [
        {**event, "occurred_at": f"{first + number * EVERY:%Y-%m-%dT%H:%M:%SZ}"}
        for number, event in enumerate(stream.events[lead : lead + count])
    ]
    return replace(
        stream,
        name=f"{stream.name}, a trickle",
        events=stream.events[:lead] + slow,
        lead=lead,
    )


def streams(path: Path, stored: Path) -> Iterable[Stream]:
    """Give what is replayed."""
    events, vectors = posts(path, stored)
    real = [Stream("Stack Exchange", segments, events, vectors) for segments in ("6", "auto")]
    asked = [(count, changing) for count in (5, 20, 60) for changing in (False, True)]
    many = []
    for count, changing in asked:
        name = f"{count} interests" + (", some come, split, merge" if changing else "")
        made = made_up(Shape(interests=count, users=USERS, changing=changing))
        numbers = ("auto",) if changing else (f"{count}", "auto")
        many += [Stream(name, number, *made) for number in numbers]
    return [*real, *many, *(trickling(stream) for stream in (*real, many[3], many[4]))]


def measure(against: Path, found: Iterable[Stream], folder: Path) -> Figures:
    """Replay each stream in both builds."""
    checkouts = {"former": against, "this": ROOT}
    rows = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, stream in enumerate(found):
            place = folder / f"{number}"
            write(stream, place)
            told = {
                name: pool.submit(_replayed, checkout, stream, place)
                for name, checkout in checkouts.items()
            }
            rows.append((stream, told))
        done = [
            {
                "name": stream.name,
                "asked": stream.segments,
                "events": len(stream.events) - (stream.lead or 0),
                **{name: each.result() for name, each in told.items()},
            }
            for stream, told in rows
        ]
    return {"trickle_seconds": EVERY.total_seconds(), "least_events": LEAST_EVENTS, "rows": done}


def write(stream: Stream, folder: Path) -> None:
    """Write a stream for the driver."""
    folder.mkdir()
    np.save(folder / "vectors.npy", stream.vectors)
    lines = [
        json.dumps(
            {**{key: event[key] for key in _KEPT}, "text": f"What is told by text {number}."}
        )
        for number, event in enumerate(stream.events)
    ]
    (folder / "events.jsonl").write_text("\n".join(lines), encoding="utf-8")


def _replayed(checkout: Path, stream: Stream, folder: Path) -> Figures:
    with Checkout(checkout, DRIVER) as driver:
        told = driver.ask(
            "run",
            folder=str(folder),
            segments=stream.segments,
            lead=stream.lead,
            least=LEAST_EVENTS,
        )
    for name in ("v", "v_all", "prequential"):
        told[name] = round(told[name], 4)
    say(f"{checkout.name}, {stream.name}, {stream.segments}: {told}")
    return told


def by_model(told: Figures) -> float:
    """Give the switches a user that the model caused."""
    return float(told["switches"]["model"] / told["users"])


def ratio(row: Figures) -> float | None:
    """Give what is left of them, None where there were none before."""
    before = by_model(row["former"])
    return by_model(row["this"]) / before if before else None


def text(figures: Figures) -> str:
    """Write the figures in Markdown."""

    def switches(side: str) -> Cell:
        return lambda row: f"{by_model(row[side]):.3f}"

    def left(row: Figures) -> str:
        return "" if (found := ratio(row)) is None else f"{found:.2f}"

    cells: dict[str, Cell] = {
        "": "{name}",
        "asked": "{asked}",
        "segments": "{former[segments]}, {this[segments]}",
        "by the model, 48f6e1e": switches("former"),
        "now": switches("this"),
        "of it": left,
        "V": "{former[v]:.3f}, {this[v]:.3f}",
        "V, all users": "{former[v_all]:.3f}, {this[v_all]:.3f}",
        "prequential": "{former[prequential]:.3f}, {this[prequential]:.3f}",
        "versions": "{former[versions]}, {this[versions]}",
        "looks": "{former[looks]}, {this[looks]}",
    }
    return columns(figures["rows"], cells, texts=1)


def draw(figures: Figures, path: Path) -> None:
    """Draw the switches a user of both builds, stream by stream."""
    rows = figures["rows"][::-1]
    figure = blank(9, 0.5 * len(rows) + 1.2)
    axes = figure.subplots()
    places = np.arange(len(rows))
    for side, shift, colour, label in (
        ("former", 0.2, PALE_BLUE, "48f6e1e"),
        ("this", -0.2, BLUE, "now"),
    ):
        values = [by_model(row[side]) for row in rows]
        axes.barh(places + shift, values, 0.38, color=colour, label=label, zorder=3)
    axes.set_yticks(places, [f"{row['name']} ({row['asked']})" for row in rows])
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    dress(axes, x="switches of segment a user, by the model", y="", grid=True)
    path.write_bytes(png(figure))
