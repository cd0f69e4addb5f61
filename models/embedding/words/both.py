"""Two models in one: the vectors of an encoder and of `words`, joined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from models.embedding.engine.text_embedder import EmbeddingTotals, ModelEmbedder, Watch
from models.embedding.engine.tokenising import Recipe
from models.embedding.runner_types import Description, RunnerTotals, UsedDevice, Vectors
from models.embedding.tokens import Tokenise, Tokens
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


@dataclass(frozen=True, slots=True)
class WordsWeight:
    """The weight of `words` in the cosine of two texts.

    Attributes
    ----------
    usual
        Above 0 and below 1.
    by_language
        What it is for texts of some languages, by their code. Languages are told by script and
        function words alone, as `words` tells them: a vector depends on nothing but the text.
    """

    usual: float
    by_language: Mapping[str, float]

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Give the weight in each text, (texts, 1)."""
        count = len(texts)
        weights = np.full((count, 1), self.usual, np.float32)
        if self.by_language:
            languages = detect_languages(texts, [None] * count, [False] * count)
            for row, language in enumerate(languages):
                weights[row] = self.by_language.get(language, self.usual)
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class BothTokens(Tokens):
    """Texts tokenised for the encoder, and beside it for `words`.

    Attributes
    ----------
    words
        The same texts, for `words`.
    weights
        Weight of `words` in each text, (texts, 1).
    """

    words: Tokens
    weights: Vectors

    def __getitem__(self, part: slice) -> Self:
        """Give some of the texts, side by side."""
        own = Tokens(self.keys, self.places, self.inputs)[part]
        return type(self)(own.keys, own.places, own.inputs, self.words[part], self.weights[part])


@dataclass(frozen=True, slots=True)
class BothRecipe:
    """What it takes to tokenise for both in another process.

    Attributes
    ----------
    encoder, words
        The recipes of the two models.
    weight
        Of `words`, which depends on the text's language.
    """

    encoder: Recipe
    words: Recipe
    weight: WordsWeight

    def load(self) -> Tokenise:
        """Make the tokeniser; raises what making those of the two models raises."""
        encoder, words, weight = self.encoder.load(), self.words.load(), self.weight

        def tokenise(texts: Sequence[str]) -> BothTokens:
            own = encoder(texts)
            return BothTokens(own.keys, own.places, own.inputs, words(texts), weight(texts))

        return tokenise


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
    weight, language_weights
        What w is, as for `WordsWeight`.

    Attributes
    ----------
    identity
        SHA-256 over both models' and the weights.
    dimensions
        Of both together.
    """

    by_words_alone = False

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
        self._weight = WordsWeight(weight, dict(language_weights))
        content = {
            "kind": "both",
            "encoder": encoder.identity,
            "words": words.identity,
            "weight": weight,
            "language_weights": dict(language_weights),
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
    def recipe(self) -> BothRecipe | None:
        """What other processes tokenise by, for `embed_tokens`; None where they cannot."""
        encoder, words = self._encoder.recipe, self._words.recipe
        if encoder is None or words is None:
            return None
        return BothRecipe(encoder, words, self._weight)

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
        return joined(encoded, counted, self._weight(texts))

    def embed_tokens(self, tokens: Tokens) -> Vectors:
        """Embed texts that are tokenised, by a tokeniser of `recipe`; as `embed` does."""
        if not isinstance(tokens, BothTokens):
            raise TypeError(f"{len(tokens)} texts were tokenised for one of two models")
        encoded = self._encoder.embed_tokens(tokens)
        counted = self._words.embed_tokens(tokens.words)
        return joined(encoded, counted, tokens.weights)

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""
        self._encoder.close()
        self._words.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def joined(encoded: Vectors, counted: Vectors, weights: Vectors) -> Vectors:
    """Put the vectors of `words` beside the encoder's, each as long as its weight says.

    Parameters
    ----------
    encoded, counted
        Unit vectors of the same texts, (texts, dimensions of either); NaN where there is none.
    weights
        Of `words` in each text, (texts, 1).

    Returns
    -------
    Vectors
        NaN for a text that the encoder has no vector of.
    """
    unknown = np.isnan(counted[:, 0])
    weights = np.where(unknown[:, np.newaxis], np.float32(0), weights)
    counted = np.where(unknown[:, np.newaxis], np.float32(0), counted)
    parts = (np.sqrt(1 - weights) * encoded, np.sqrt(weights) * counted)
    joined: Vectors = np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")
    # A text that the encoder failed on has no vector at all.
    joined[np.isnan(encoded).any(axis=1)] = np.nan
    return joined
