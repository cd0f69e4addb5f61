"""The app that most people would write: Quix Streams with state, River one event at a time.

    python quix_app.py '{"servers": ..., "group": ..., "input": ..., "output": ..., ...}'

It runs in an environment of its own (`builds.quix_python`), and as its docs tune it: exactly once,
commits by number and time, state in RocksDB with a changelog. A profile is the sum of the faded
vectors as bytes, which is quicker than the default JSON; River's k-means learns it and tells its
cluster, and whoever changes cluster is written to the output; every event writes its user's cluster
there, so that what it did can be seen.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from anywhere import Table
from quixstreams import Application, State
from river import cluster

HALF_LIFE = 0.9


def run(given: dict[str, Any]) -> None:
    """Run the app until SIGTERM."""
    table = Table(Path(given["table"]))
    model = cluster.KMeans(n_clusters=6, halflife=0.5, seed=1)
    app = Application(
        broker_address=given["servers"],
        consumer_group=given["group"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_every=512,
        commit_interval=given["wait"],
        state_dir=given["state"],
        consumer_extra_config={"queued.max.messages.kbytes": 16_384},
        producer_extra_config={"linger.ms": 5, "compression.type": "lz4"},
        loglevel="WARNING",
    )

    def assign(event: dict[str, Any], state: State) -> dict[str, Any]:
        vector = table.embed([event["text"]])[0]
        stored = state.get_bytes("sum")
        if stored is not None:
            vector = vector + HALF_LIFE * np.frombuffer(stored, np.float32)
        state.set_bytes("sum", vector.tobytes())
        unit = vector / np.linalg.norm(vector)
        features = dict(enumerate(unit.tolist()))
        model.learn_one(features)
        found = model.predict_one(features)
        former = state.get("segment")
        if found != former:
            state.set("segment", found)
        return {"user_id": event["user_id"], "segment": found, "former": former}

    stream = app.dataframe(app.topic(given["input"], value_deserializer="json"))
    stream = stream.apply(assign, stateful=True)
    stream.to_topic(app.topic(given["output"], value_serializer="json"))
    signal.signal(signal.SIGTERM, lambda *_: app.stop())
    app.run()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
