"""Replays a stream through a checkout's own stages; started by `benchmarks.flapping.builds`.

It runs in checkouts of other versions too, as `benchmarks/pipeline/driver.py` does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from anywhere import IDENTITY, found, serve

Clusterer = found(
    "models.clustering.learner:StreamingClusterer", "models.clustering:StreamingClusterer"
)
Observer = found("consumer.offline.evaluate.observe:Observer", "consumer.evaluate.observe:Observer")
Record = found("consumer.contract.records:Record", "consumer.records:Record")
Replay = found("consumer.offline.replay:Replay", "consumer.replay:Replay")
Settings = found("consumer.settings:Settings")

LOOK = "_look" if hasattr(Clusterer, "_look") else "_reseed"
"""What computes centres from the whole sample."""


class Numbered:
    """An embedder of texts that say which vector is theirs."""

    identity = IDENTITY

    def __init__(self, vectors: Any) -> None:
        self._vectors = vectors
        self.dimensions = vectors.shape[1]

    def embed(self, texts: Any) -> Any:
        """Look the vectors up."""
        return self._vectors[[int(re.search(r"\d+", text)[0]) for text in texts]]


class Driver:
    """Answers requests, each a method's name and its arguments."""

    def __init__(self) -> None:
        self.looks = 0
        look = getattr(Clusterer, LOOK)

        def counted(clusterer: Any) -> None:
            self.looks += 1
            look(clusterer)

        setattr(Clusterer, LOOK, counted)

    def run(self, folder: str, segments: str, lead: int | None, least: int) -> dict[str, Any]:
        """Replay the stream of a folder, from `lead` on event by event with a pause after each.

        Returns
        -------
        dict
            Of all, or of what came after the lead: `switches` of segment by whose doing they were,
            `versions` of the segments, `looks` at the whole sample. And `v`, of users with so many
            events (`least`) at the end, `v_all`, `prequential`, `users`, and the `segments` there
            are.
        """
        vectors = np.load(Path(folder) / "vectors.npy")
        lines = Path(folder, "events.jsonl").read_bytes().splitlines()
        settings = Settings(training={"segments": segments})
        replay = Replay(settings, Numbered(vectors), None, datetime.now(UTC))
        observer = Observer(settings.topics, "label")
        switches = Counter[str]()

        def sink(output: Any) -> None:
            observer.sink(output)
            if output.topic == settings.topics.changes and output.value is not None:
                change = json.loads(output.value)
                if change["status"] == "switched":
                    # Older versions say the reason alone: docs/events.md has whose doing each is.
                    by_user = change["reason"] == "behaviour"
                    switches[change.get("cause") or ("user" if by_user else "model")] += 1

        topic = settings.topics.events
        records = iter(
            [
                Record(topic, 0, offset, -1, json.loads(line)["user_id"].encode(), line)
                for offset, line in enumerate(lines)
            ]
        )
        before = 0
        replay.run(islice(records, lead), sink, watch=observer.watch)
        if lead is not None:
            before = replay.segmentation.model.version
            switches.clear()
            self.looks = 0
            for record in records:
                replay.run([record], sink, watch=observer.watch)
        model = replay.segmentation.model
        return {
            "events": observer.events,
            "users": len(observer.tracks),
            "segments": len(model.ids),
            "switches": {cause: switches[cause] for cause in ("user", "model")},
            "versions": model.version - before,
            "looks": self.looks,
            "v": observer.users(least).agreement().v_measure,
            "v_all": observer.users(1).agreement().v_measure,
            "prequential": observer.confusion.agreement().v_measure,
        }


if __name__ == "__main__":
    serve(Driver())
