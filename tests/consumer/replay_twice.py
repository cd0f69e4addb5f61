"""Replays a file in a process of its own: python -m tests.consumer.replay_twice EVENTS FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.replay import replay_file
from tests.consumer.stage_data import EMBEDDER, NOW
from tests.consumer.test_replay import SETTINGS

if __name__ == "__main__":
    replay_file(Path(sys.argv[1]), Path(sys.argv[2]), SETTINGS, EMBEDDER, now=NOW)
