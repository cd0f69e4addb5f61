"""A small replay, whose users wrote to break the page, for its tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from consumer.offline.replay import ReplayResult, replay_file
from consumer.settings import Settings
from tests.consumer.stages.stage_data import EMBEDDER, NOW, event

# Written as entities, since markup itself is taken out of texts.
HOSTILE = "&lt;/script&gt;&lt;script&gt;alert(1)&lt;img src=x onerror=alert(2)&gt;\u202e&lt;!--"
TOPICS = ("hops yeast barley malt brewing", "qubit photon entangled particle physics")
SETTINGS: dict[str, Any] = {
    "training": {"segments": 2, "warmup_users": 20, "sample_users": 60, "reseed_every": 50},
    "recommendations": {"enabled": True, "half_life_days": 365},
    "drift": {"users": 20, "min_users": 20, "every": 20, "segment_users": 10},
}


def stream() -> list[dict[str, Any]]:
    """Forty users of two interests, some of whom change theirs; each says something hostile."""
    draw = np.random.default_rng(5)
    made = []
    for n in range(400):
        user = int(draw.integers(40))
        interest = (user + (n > 200 and user % 5 == 0)) % 2
        words = " ".join(draw.choice(TOPICS[interest].split(), 4, replace=False))
        made.append(
            event(
                f"user-{user}<b>",
                n % 150,
                f"{words} {HOSTILE}",
                event_id=str(n),
                type=("review", "comment")[n % 2],
                rating=None if n % 4 == 0 else 1 + n % 5,
                site=("beer", "physics")[interest],
                # Of four items each interest has one of its own.
                item_id=f"thing-{(n % 3) + (interest if n % 3 == 2 else 0)}</script>\u202e<img>",
            )
        )
    return made


def replayed(folder: Path, lines: list[dict[str, Any]] | None = None) -> tuple[Path, ReplayResult]:
    """Replay the stream; give the file of events and what came of it, which is in `folder`/out."""
    events = folder / "events.jsonl"
    written = stream() if lines is None else lines
    events.write_text("".join(json.dumps(line) + "\n" for line in [*written, *written[-7:], "{"]))
    settings = Settings(**SETTINGS)
    return events, replay_file(events, folder / "out", settings, EMBEDDER, now=NOW)
