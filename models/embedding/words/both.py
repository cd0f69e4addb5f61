"""Two models in one: the vectors of an encoder and of `words`, joined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from models.embedding.engine.text_embedder import EmbeddingTotals, ModelEmbedder, Watch
from models.embedding.runner_types import Description, RunnerTotals, UsedDevice, Vectors
from models.embedding.tokens import Tokens
from models.embedding.words.embedder import WordsEmbedder
from models.text import detect_languages


@dataclass(frozen=True, slots=True)
class Joined:
    """What is told of two models that are one.

    Attributes
    ----------
    name, precision
        Of the encoder, and that there is another.
    reads
        The languages of either; None where one does not tell its own.
    """

    name: str
    precision: str
    reads: tuple[str, ...] | None

    @classmethod
    def of(cls, encoder: Description, words: Description) -> Self:
        """Describe two models."""
        known = encoder.reads and words.reads
        reads = tuple(dict.fromkeys((*encoder.reads, *words.reads))) if known else None  # type: ignore[misc]
        return cls(f"{encoder.name} and {words.name}", encoder.precision, reads)


class BothEmbedder:
    """Embeds texts with an encoder and by their words; safe to call from several threads.

    A vector is the encoder's unit vector times the root of 1 - w, and beside it that of `words`
    times the root of w. So it has length one, and the cosine of two texts of one language is
    1 - w of the encoder's cosine and w of that of `words`. A text of which no word is known has
    the encoder's vector alone, and zeros beside it.

    Parameters
    ----------
    encoder, words
        The two models.
    weight
        What w is, above 0 and below 1.
    language_weights
        What it is for texts of some languages, by their code. Languages are told by script and
        function words alone, as `words` tells them: a vector depends on nothing but the text.

    Attributes
    ----------
    identity
        SHA-256 over both models' and the weights.
    dimensions
        Of both together.
    """

    by_words_alone = False
    recipe = None

    def __init__(
        self,
        encoder: ModelEmbedder,
        words: WordsEmbedder,
        *,
        weight: float,
        language_weights: Mapping[str, float],
    ) -> None:
        self._encoder = encoder
        self._words = words
        self._weight = weight
        self._language_weights = dict(language_weights)
        self._failed = 0
        content = {
            "kind": "both",
            "encoder": encoder.identity,
            "words": words.identity,
            "weight": weight,
            "language_weights": self._language_weights,
        }
        self.identity = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self.dimensions = encoder.dimensions + words.dimensions
        self.manifest: Description = Joined.of(encoder.manifest, words.manifest)
        self.device: UsedDevice = encoder.device
        self.fell_back = encoder.fell_back
        self.threads = encoder.threads

    @property
    def watch(self) -> Watch | None:
        """Told of what goes through the encoder."""
        return self._encoder.watch

    @watch.setter
    def watch(self, watch: Watch | None) -> None:
        self._encoder.watch = watch

    @property
    def totals(self) -> EmbeddingTotals:
        """Counts of the encoder since it was loaded; the time is that of both."""
        found, beside = self._encoder.totals, self._words.totals
        return replace(
            found,
            tokenise_seconds=found.tokenise_seconds + beside.tokenise_seconds,
            run_seconds=found.run_seconds + beside.run_seconds,
        )

    @property
    def runner_totals(self) -> RunnerTotals:
        """Counts of what runs the encoder."""
        return self._encoder.runner_totals

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, in their order; as `TextEmbedder.embed` does."""
        encoded, counted = self._encoder.embed(texts), self._words.embed(texts)
        weights = self._weights(texts)
        unknown = np.isnan(counted[:, 0])
        weights[unknown] = 0
        counted[unknown] = 0
        parts = (np.sqrt(1 - weights) * encoded, np.sqrt(weights) * counted)
        joined: Vectors = np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")
        # A text that the encoder failed on has no vector at all.
        joined[np.isnan(encoded).any(axis=1)] = np.nan
        return joined

    def embed_tokens(self, tokens: Tokens) -> Vectors:
        """Refuse: nothing gives tokens of two models; see `recipe`."""
        raise NotImplementedError(f"{len(tokens)} texts were tokenised by one of two models")

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""
        self._encoder.close()
        self._words.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _weights(self, texts: Sequence[str]) -> Vectors:
        """Give the weight of `words` in each text, (texts, 1)."""
        weights = np.full((len(texts), 1), self._weight, np.float32)
        if self._language_weights:
            count = len(texts)
            for row, language in enumerate(
                detect_languages(texts, [None] * count, [False] * count)
            ):
                weights[row] = self._language_weights.get(language, self._weight)
        return weights
