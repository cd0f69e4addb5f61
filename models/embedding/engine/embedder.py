"""Texts to unit vectors: what was seen lately is looked up, the rest is tokenised, cut and run."""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.embedding.engine.busy_time import BusyTime
from models.embedding.engine.chunks import combine, unit_or_nan, without_broken
from models.embedding.engine.runners import Runner, RunnerTotals, Vectors, open_runner
from models.embedding.engine.text_cache import TextCache, TextHasher
from models.embedding.engine.tokenising import TextTokeniser, TokeniserRecipe, load_tokenizer
from models.embedding.manifest import TOKENIZER_FILE, Manifest
from models.embedding.policy import BATCH_TOKENS, MAX_CHUNKS, Device, LongTexts
from models.embedding.tokens import Inputs, Tokens


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
    tokenise_seconds, run_seconds
        Time in which texts were tokenised and cut, and in which the model ran. Not compared.
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0
    cache_hits: int = 0
    failed: int = 0
    tokenise_seconds: float = field(default=0.0, compare=False)
    run_seconds: float = field(default=0.0, compare=False)

    @property
    def embedded(self) -> int:
        """Texts that went through the model."""
        return self.texts - self.cache_hits


class OnnxEmbedder:
    """Embeds texts with a prepared model; safe to call from several threads.

    Use `OnnxEmbedder.load`. Close it, or use it as a context, to end its threads.

    Parameters
    ----------
    manifest, tokenizer, runner
        The model's description, its tokenizer, and what runs it.
    long_texts
        ``truncate`` keeps the beginning of a text that is longer than the model's input. ``chunk``
        cuts it into inputs and takes the mean, see `models.embedding.engine.chunks`.
    max_chunks
        Chunks of a text at most; what is beyond is truncated.
    cache_texts
        Vectors kept of the texts used last; 0 keeps none.
    folder
        Where the model lies, for other processes to tokenise by.

    Attributes
    ----------
    manifest
        The model's description.
    identity
        SHA-256 that changes whenever the vectors do: the manifest's own, or one over that and how
        long texts are cut, where that is not by truncating.
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    fell_back
        Whether a GPU was asked for and it runs on the CPU.
    threads
        Texts or batches embedded at the same time.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        runner: Runner,
        *,
        long_texts: LongTexts = "truncate",
        max_chunks: int = MAX_CHUNKS,
        cache_texts: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.manifest = manifest
        self.device = runner.device
        self.fell_back = runner.fell_back
        self.threads = runner.threads
        self._folder = folder
        self._max_chunks = chunks = max_chunks if long_texts == "chunk" else 1
        self.identity = _identity(manifest, chunks)
        self._hasher = TextHasher()
        self._tokenise = TextTokeniser(
            tokenizer, manifest.max_tokens, manifest.prefix, chunks, self._hasher
        )
        self._runner = runner
        self._cache = TextCache(cache_texts, manifest.dimensions)
        self._tokenising, self._running = BusyTime(), BusyTime()
        self._counts = EmbeddingTotals()
        self._counting = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        device: Device = "auto",
        batch_tokens: int = BATCH_TOKENS,
        sessions: int = 1,
        allow_cpu_fallback: bool = False,
        long_texts: LongTexts = "truncate",
        max_chunks: int = MAX_CHUNKS,
        cache_texts: int = 0,
    ) -> Self:
        """Open a folder that `prepare_model` made.

        Parameters
        ----------
        folder
            The model's folder.
        threads
            Cores to use on the CPU, by default all that this process may use.
        device
            ``auto`` takes a GPU for an fp16 or fp32 model where there is one, and says so in the
            log.
        batch_tokens
            On a GPU, the most tokens of a batch. A longer text runs alone.
        sessions
            On a GPU, how many batches run side by side.
        allow_cpu_fallback
            Whether to go on with the CPU where the GPU that was asked for is not to be had.
        long_texts, max_chunks, cache_texts
            As for the class.

        Raises
        ------
        MissingFileError, DamagedFileError
            If the folder is not as its manifest says.
        UnsupportedModelError
            If the model's input has no room for a text.
        DeviceUnavailableError
            If what was asked for is not to be had, or does not suit the model's precision.
        """
        manifest = Manifest.read(folder)
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
        runner = open_runner(
            folder,
            manifest,
            device=device,
            threads=threads,
            batch_tokens=batch_tokens,
            sessions=sessions,
            allow_cpu_fallback=allow_cpu_fallback,
        )
        return cls(
            manifest,
            tokenizer,
            runner,
            long_texts=long_texts,
            max_chunks=max_chunks,
            cache_texts=cache_texts,
            folder=folder,
        )

    @property
    def recipe(self) -> TokeniserRecipe | None:
        """What other processes tokenise by, for `embed_tokens`; None where they cannot."""
        if self._folder is None:
            return None
        return TokeniserRecipe(
            self._folder.absolute(),
            self.manifest.files[TOKENIZER_FILE],
            self.manifest.max_tokens,
            self.manifest.prefix,
            self._max_chunks,
            self._hasher.secret,
        )

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self.manifest.dimensions

    @property
    def totals(self) -> EmbeddingTotals:
        """Counts since it was loaded."""
        return replace(
            self._counts,
            tokenise_seconds=self._tokenising.seconds,
            run_seconds=self._running.seconds,
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
        vectors = without_broken(vectors) if self.manifest.normalise else unit_or_nan(vectors)
        return combine(vectors, inputs.weights, inputs.counts)

    def _count(self, run: Inputs | None, vectors: Vectors) -> None:
        with self._counting:
            counts = self._counts
            self._counts = replace(
                counts,
                texts=counts.texts + len(vectors),
                tokens=counts.tokens + (run.ids.size if run else 0),
                truncated=counts.truncated + (int(run.truncated.sum()) if run else 0),
                cache_hits=counts.cache_hits + len(vectors) - (len(run) if run else 0),
                failed=counts.failed + int(np.isnan(vectors[:, 0]).sum()),
            )


def _identity(manifest: Manifest, max_chunks: int) -> str:
    """Name the vectors: one chunk is what the model alone would do."""
    if max_chunks == 1:
        return manifest.identity
    content = {"model": manifest.identity, "long_texts": "chunk", "max_chunks": max_chunks}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
