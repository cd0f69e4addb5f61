"""`segmenter` of this build or of another, with a cheap embedder in place of the model.

    python program.py hashing worker --model model.json
    python program.py FOLDER worker

It runs under the other build's Python, so it imports nothing of this folder's package. FOLDER holds
a table (`benchmarks.pipeline.stream.make_table`); `hashing` is the tests' embedder. Settings that
the build does not know are taken out of the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from anywhere import IDENTITY, Table, found, keep_known


def embedder_of(which: str) -> Any:
    """Make the embedder; of the tests' one a table has what a worker's metrics tell."""
    hashing = found("tests.stubs:HashingEmbedder")
    if which == "hashing":
        return hashing()
    table = Table(Path(which))

    class TableEmbedder(hashing):  # type: ignore[misc]
        def embed(self, texts: Any) -> Any:
            return table.embed(texts)

    made = TableEmbedder(table.dimensions)
    made.identity = IDENTITY
    made.recipe = None  # of no tokeniser: texts are what it is asked for
    return made


def main() -> int:
    """Run the build's command line."""
    embedder = embedder_of(sys.argv[1])
    home = found("consumer.wiring.embedder", "consumer.app")
    home.load_embedder = lambda _settings: embedder
    keep_known()
    sys.argv = ["segmenter", *sys.argv[2:]]
    return int(found("consumer.cli.main:main", "consumer.cli:main")())


if __name__ == "__main__":
    sys.exit(main())
