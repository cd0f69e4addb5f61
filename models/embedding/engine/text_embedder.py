"""What embedders of every kind share: lookup of texts seen lately, counts, time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.embedding.engine.busy_time import BusyTime
from models.embedding.engine.chunks import combine, unit_or_nan, without_broken
from models.embedding.engine.text_cache import TextCache
from models.embedding.engine.tokenising import DistinctTokeniser, Recipe
from models.embedding.runner_types import Description, Runner, RunnerTotals, UsedDevice, Vectors
from models.embedding.tokens import Inputs, TokenEmbedder, Tokens
from models.text import SCRIPTS


@dataclass(frozen=True)
class EmbeddingTotals:
    """What an embedder has done since it was loaded.

    Parameters
    ----------
    texts
        Texts that it was asked for.
    tokens
        Tokens that the model saw, special tokens included, padding not.
    truncated
        Texts of which only the beginning counted, being longer than the model's limit, or than
        `max_chunks` times that. One that is looked up is not counted again.
    cache_hits
        Texts that did not go through the model, since it had seen them lately or in the same call.
    failed
        Texts for which there is no vector.
    unknown
        Of the tokens, those that stand for what the model does not know.
    letters
        Letters of the texts that went through the model, by script.
    tokenise_seconds, run_seconds
        Time in which texts were tokenised and cut, and in which the model ran. Not compared.
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0
    cache_hits: int = 0
    failed: int = 0
    unknown: int = 0
    letters: Mapping[str, int] = field(default_factory=dict, compare=False)
    tokenise_seconds: float = field(default=0.0, compare=False)
    run_seconds: float = field(default=0.0, compare=False)

    @property
    def embedded(self) -> int:
        """Texts that went through the model."""
        return self.texts - self.cache_hits


Watch = Callable[[int, int, NDArray[np.int64]], None]
"""Told how many tokens there were, how many of them unknown, and the letters by script."""


class ModelEmbedder(TokenEmbedder, Protocol):
    """A model that is loaded, of whatever kind: what processes want of it.

    Attributes
    ----------
    by_words_alone
        Whether what has no vector is a text of which no word is known, not one that failed.
    watch
        Told of what goes through the model, a call at a time.
    """

    watch: Watch | None
    by_words_alone: bool

    @property
    def manifest(self) -> Description:
        """The model's description."""

    @property
    def device(self) -> UsedDevice:
        """Where it runs."""

    @property
    def fell_back(self) -> bool:
        """Whether a GPU was asked for and it runs on the CPU."""

    @property
    def threads(self) -> int:
        """Texts or batches embedded at the same time."""

    @property
    def recipe(self) -> Recipe | None:
        """What other processes tokenise by, for `embed_tokens`; None where they cannot."""

    @property
    def totals(self) -> EmbeddingTotals:
        """Counts since it was loaded."""

    @property
    def runner_totals(self) -> RunnerTotals:
        """Counts of what runs the model."""

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class TextEmbedder:
    """Embeds texts with a model of any kind; safe to call from several threads.

    Close it, or use it as a context, to end its threads.

    Parameters
    ----------
    identity
        What the vectors are known by.
    dimensions
        Length of a vector.
    tokenise
        From texts to the model's inputs.
    runner
        From inputs to vectors.
    unit
        Whether the runner's vectors have length one already.
    cache_texts
        Vectors kept of the texts used last; 0 keeps none.
    unknown_id
        The token that stands for what the model does not know; None where it has none.

    Attributes
    ----------
    manifest
        The model's description.
    identity
        SHA-256 that changes whenever the vectors do.
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    fell_back
        Whether a GPU was asked for and it runs on the CPU.
    threads
        Texts or batches embedded at the same time.
    """

    manifest: Description
    watch: Watch | None = None
    """Told of what goes through the model, a call at a time."""
    by_words_alone = False
    """Whether what has no vector is a text of which no word is known, not one that failed."""

    def __init__(
        self,
        identity: str,
        dimensions: int,
        tokenise: DistinctTokeniser,
        runner: Runner,
        *,
        unit: bool,
        cache_texts: int,
        unknown_id: int | None = None,
    ) -> None:
        self.identity = identity
        self.dimensions = dimensions
        self.device = runner.device
        self.fell_back = runner.fell_back
        self.threads = runner.threads
        self._tokenise = tokenise
        self._runner = runner
        self._unit = unit
        self._unknown_id = unknown_id
        self._letters: NDArray[np.int64] = np.zeros(len(SCRIPTS), np.int64)
        self._cache = TextCache(cache_texts, dimensions)
        self._tokenising, self._running = BusyTime(), BusyTime()
        self._counts = EmbeddingTotals()
        self._counting = threading.Lock()

    @property
    def recipe(self) -> Recipe | None:
        """What other processes tokenise by, for `embed_tokens`; None where they cannot."""
        return None

    @property
    def totals(self) -> EmbeddingTotals:
        """Counts since it was loaded."""
        return replace(
            self._counts,
            tokenise_seconds=self._tokenising.seconds,
            run_seconds=self._running.seconds,
            letters={
                script: count
                for script, count in zip(SCRIPTS, self._letters.tolist(), strict=True)
                if count
            },
        )

    @property
    def runner_totals(self) -> RunnerTotals:
        """Counts of what runs the model."""
        return self._runner.totals

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, in their order; a text that comes several times is embedded once.

        Parameters
        ----------
        texts
            Cleaned texts, none of them empty.

        Returns
        -------
        Vectors
            Unit vectors, float32, (texts, dimensions); NaN in the row of a text that the model
            failed on.

        Raises
        ------
        UnusableTextError
            If a text is empty or no valid Unicode; says which, and embeds none.
        """
        keys, places, distinct = self._tokenise.distinct(texts)

        def inputs(missing: NDArray[np.bool_]) -> Inputs:
            with self._tokenising:
                return self._tokenise.inputs([distinct[at] for at in np.flatnonzero(missing)])

        return self._embed(keys, places, inputs)

    def embed_tokens(self, tokens: Tokens) -> Vectors:
        """Embed texts that are tokenised, by a tokeniser of `recipe`; as `embed` does."""
        return self._embed(tokens.keys, tokens.places, tokens.inputs.keep)

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _embed(
        self,
        keys: list[bytes],
        places: NDArray[np.int64],
        inputs: Callable[[NDArray[np.bool_]], Inputs],
    ) -> Vectors:
        """Look distinct texts up, and run the inputs of those that are not known."""
        vectors = np.empty((len(keys), self.dimensions), dtype=np.float32)
        missing = ~self._cache.get(keys, vectors)
        run = None
        if missing.any():
            run = inputs(missing)
            fresh = self._run(run)
            self._cache.put([keys[at] for at in np.flatnonzero(missing)], fresh)
            vectors[missing] = fresh
        vectors = vectors[places]
        self._count(run, vectors)
        return vectors

    def _run(self, inputs: Inputs) -> Vectors:
        """Give the vector of each text."""
        with self._running:
            vectors = self._runner.run(inputs.rows())
        # Profiles add unit vectors.
        vectors = without_broken(vectors) if self._unit else unit_or_nan(vectors)
        return combine(vectors, inputs.weights, inputs.counts)

    def _count(self, run: Inputs | None, vectors: Vectors) -> None:
        tokens = unknown = inputs = truncated = 0
        letters: NDArray[np.int64] = np.zeros(len(SCRIPTS), np.int64)
        if run is not None:
            tokens, inputs, truncated = run.ids.size, len(run), int(run.truncated.sum())
            letters += run.letters.sum(axis=0)
            if self._unknown_id is not None:
                unknown = int((run.ids == self._unknown_id).sum())
        with self._counting:
            counts = self._counts
            self._counts = replace(
                counts,
                texts=counts.texts + len(vectors),
                tokens=counts.tokens + tokens,
                truncated=counts.truncated + truncated,
                cache_hits=counts.cache_hits + len(vectors) - inputs,
                failed=counts.failed + int(np.isnan(vectors[:, 0]).sum()),
                unknown=counts.unknown + unknown,
            )
            self._letters += letters
            if self.watch is not None:
                self.watch(tokens, unknown, letters)
