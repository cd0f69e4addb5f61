"""Cheap stand-ins for costly parts, deterministic in every process."""

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from models.embedding.engine.text_embedder import EmbeddingTotals
from models.embedding.errors import UnusableTextError
from models.embedding.runner_types import RunnerTotals, Vectors


class HashingEmbedder:
    """An `Embedder` that hashes words to signed coordinates: texts that share words are near.

    Needs no model, takes microseconds, and gives the same vectors under any PYTHONHASHSEED.
    """

    manifest = SimpleNamespace(name="hashing", precision="fp32", reads=None)
    device, fell_back = "cpu", False
    totals, runner_totals = EmbeddingTotals(), RunnerTotals()
    recipe = None
    by_words_alone = False

    def __init__(self, dimensions: int = 64) -> None:
        self.dimensions = dimensions
        self.identity = hashlib.sha256(f"hashing-{dimensions}".encode()).hexdigest()

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            if not text.strip():
                raise UnusableTextError(f"text {row} of {len(texts)} is empty.")
            for word in text.lower().split():
                digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
                sign, coordinate = digest & 1, (digest >> 1) % self.dimensions
                vectors[row, coordinate] += 1 if sign else -1
            if not vectors[row].any():  # words that cancelled each other
                vectors[row, 0] = 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class FailingEmbedder(HashingEmbedder):
    """The same, but has no vector for a text that holds a certain word."""

    def __init__(self, word: str, dimensions: int = 64) -> None:
        super().__init__(dimensions)
        self.word = word

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = super().embed(texts)
        vectors[[self.word in text for text in texts]] = np.nan
        return vectors
