"""What a contender's process runs: the product's engine, alone and inside the worker's stage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Setting = dict[str, Any]
"""One way to set a contender up, such as ``{"batch": 8}``."""


class Engine(Protocol):
    """A way from texts to unit vectors.

    Attributes
    ----------
    settings
        Ways to set it up; where there are several, the fastest is found first and then kept.
    """

    settings: Sequence[Setting]

    def use(self, setting: Setting) -> None:
        """Set it up; whatever takes time once belongs here."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Give one unit vector a text, float32 (texts, dimensions): this is what is timed."""


class NotComputedError(RuntimeError):
    """An engine has not computed all that it was given, so that its time says nothing."""


def check_tokens(first: dict[int, int], texts: int, tokens: int) -> None:
    """Hold the tokens of a pass against those of the first over as many texts.

    Raises
    ------
    NotComputedError
        If there were fewer: a memory of texts has answered in the model's place.
    """
    expected = first.setdefault(texts, tokens)
    if tokens < expected:
        raise NotComputedError(
            f"the model saw {tokens} tokens of {texts} texts, and {expected} the first time: "
            "measure it without a cache of texts."
        )


class Ours:
    """The product's engine, as a worker loads it.

    Parameters
    ----------
    call
        Texts of a call; by default all texts in one.
    engine
        What runs it.
    """

    settings: Sequence[Setting] = ({},)

    def __init__(
        self, *, folder: str, threads: int, call: int = 0, engine: str = "onnxruntime"
    ) -> None:
        from models.embedding.engine.embedder import OnnxEmbedder  # noqa: PLC0415, only where it is installed

        self.embedder = OnnxEmbedder.load(
            Path(folder), threads=threads, device="cpu", engine=cast(Any, engine)
        )
        self._tokens: dict[int, int] = {}
        self._call = call

    def use(self, setting: Setting) -> None:
        """Nothing to set."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed through the product's own call."""
        before = self.embedder.totals.tokens
        size = self._call or max(len(texts), 1)
        calls = [texts[start : start + size] for start in range(0, len(texts), size)]
        vectors: Vectors = np.concatenate([self.embedder.embed(call) for call in calls])
        check_tokens(self._tokens, len(texts), self.embedder.totals.tokens - before)
        return vectors


class Worker:
    """The same engine inside the worker's stage: events in, records out, no Kafka.

    It is what `segmenter replay` runs under a fixed segment model. The next batch is validated,
    cleaned and embedded while the present one moves profiles and segments and is written down.
    """

    settings: Sequence[Setting] = ({},)

    def __init__(self, *, folder: str, threads: int, events: str) -> None:
        from consumer.offline.files import read_records  # noqa: PLC0415
        from consumer.settings import Settings  # noqa: PLC0415
        from consumer.wiring.embedder import leave_cores_to_embedding  # noqa: PLC0415

        leave_cores_to_embedding()
        self._settings = Settings()
        self._engine = Recorder(Ours(folder=folder, threads=threads).embedder)
        topic, intake = self._settings.topics.events, self._settings.events.intake()
        self._records = list(read_records(Path(events), topic, intake))
        self._tokens: dict[int, int] = {}
        self._model: Any = None
        self._now = datetime.now(UTC)

    def use(self, setting: Setting) -> None:  # noqa: ARG002
        """Learn the segments that the timed rounds run under."""
        self._model = self._replay(None).segmentation.model

    def embed(self, texts: Sequence[str]) -> Vectors:  # noqa: ARG002
        """Run all its events; the texts are theirs."""
        self._engine.found.clear()
        replay = self._replay(self._model)
        accepted = replay.segmentation.stats.accepted.total()
        if accepted != len(self._records):
            raise NotComputedError(f"{accepted} of {len(self._records)} events were accepted.")
        return np.concatenate(self._engine.found)

    def _replay(self, model: Any) -> Any:
        from consumer.offline.replay import Replay  # noqa: PLC0415

        replay = Replay(self._settings, self._engine, model, self._now)
        before = self._engine.totals.tokens
        replay.run(self._records, lambda _: None)
        check_tokens(self._tokens, len(self._records), self._engine.totals.tokens - before)
        return replay


class Recorder:
    """An embedder that keeps what it gave, to be compared."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.found: list[Vectors] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed, and keep the vectors."""
        vectors: Vectors = self._embedder.embed(texts)
        if len(texts):
            self.found.append(vectors)
        return vectors
