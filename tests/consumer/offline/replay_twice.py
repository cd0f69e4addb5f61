"""Replays a file in a process of its own, by `python -m` with EVENTS and FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.offline.replay import replay_file
from tests.consumer.offline.test_replay import SETTINGS
from tests.consumer.stages.stage_data import EMBEDDER, NOW

if __name__ == "__main__":
    replay_file(Path(sys.argv[1]), Path(sys.argv[2]), SETTINGS, EMBEDDER, now=NOW)
