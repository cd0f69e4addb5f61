"""A worker process with the tests' cheap embedder: `segmenter worker` in everything else.

python -m benchmarks.worker worker --model model.json
"""

from __future__ import annotations

import sys
from typing import Any

import consumer.wiring.embedder
from benchmarks.changelog import DIMENSIONS
from consumer.cli import main as cli
from tests.stubs import HashingEmbedder

if __name__ == "__main__":
    embedder: Any = HashingEmbedder(DIMENSIONS)
    consumer.wiring.embedder.load_embedder = lambda _settings: embedder  # type: ignore[assignment]
    sys.exit(cli.main())
