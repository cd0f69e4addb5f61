"""Texts to unit vectors: tokenising, scheduling over cores or batches, and one session.

On the CPU each text is a run of its own on one core. Nothing is padded, and an int8 model, whose
activations are scaled over all that shares a run, gives a text the same vector whatever its
neighbours. The longest texts go first, so that the cores finish together. On a GPU, texts of like
length share batches up to a budget of tokens.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from models.embedding.bert_graph import OUTPUT
from models.embedding.errors import (
    DamagedFileError,
    DeviceUnavailableError,
    UnusableTextError,
)
from models.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest
from models.embedding.runtime import Device, available_cores, int8_is_exact, open_session

logger = logging.getLogger(__name__)

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
"""One unit vector a row: (texts, dimensions)."""


class Embedder(Protocol):
    """What turns texts into vectors, for the stages that need no more than that.

    Attributes
    ----------
    identity
        Changes whenever the vectors do; profiles and segment models are stamped with it.
    dimensions
        Length of a vector.
    """

    @property
    def identity(self) -> str:
        """The model that the vectors come from."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector a text, (texts, dimensions); no text may be empty."""


@dataclass(frozen=True)
class EmbeddingTotals:
    """What an embedder has done since it was loaded.

    Parameters
    ----------
    texts
        Texts embedded.
    tokens
        Tokens that the model saw, special tokens included, padding not.
    truncated
        Texts longer than the model's limit, of which only the beginning counted.
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0


class OnnxEmbedder:
    """Embeds texts with a prepared model; safe to call from several threads.

    Use `OnnxEmbedder.load`. Close it, or use it as a context, to end its threads.

    Attributes
    ----------
    manifest
        The model's description.
    device
        Where it runs: ``cpu`` or ``cuda``.
    threads
        Texts embedded at the same time; 1 on a GPU.
    totals
        Counts since it was loaded.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        session: Any,
        *,
        device: Literal["cpu", "cuda"],
        threads: int,
        batch_tokens: int,
    ) -> None:
        self.manifest = manifest
        self.device = device
        self.threads = threads if device == "cpu" else 1
        self.totals = EmbeddingTotals()
        self._tokenizer = tokenizer
        self._session = session
        self._batch_tokens = batch_tokens
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="embed")
        self._counting = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        device: Device = "auto",
        batch_tokens: int = 16_384,
    ) -> Self:
        """Open a folder that `prepare_model` made.

        Parameters
        ----------
        folder
            The model's folder.
        threads
            Cores to use on the CPU, by default all that this process may use.
        device
            ``auto`` takes a GPU for an fp32 model where there is one, and says so in the log.
        batch_tokens
            On a GPU, the most tokens of a batch, padding included. A longer text runs alone.

        Raises
        ------
        MissingFileError, DamagedFileError
            If the folder is not as its manifest says.
        DeviceUnavailableError
            If ``cuda`` was asked for and is not to be had, or the model is int8.
        """
        manifest = Manifest.read(folder)
        session, used = _open(folder / MODEL_FILE, manifest, device)
        return cls(
            manifest,
            _load_tokenizer(folder / TOKENIZER_FILE, manifest.max_tokens),
            session,
            device=used,
            threads=threads or available_cores(),
            batch_tokens=batch_tokens,
        )

    @property
    def identity(self) -> str:
        """SHA-256 that changes whenever the model does."""
        return self.manifest.identity

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self.manifest.dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, in their order.

        Parameters
        ----------
        texts
            Cleaned texts, none of them empty. What is beyond the model's longest input is cut off
            and counted in `totals`.

        Returns
        -------
        Vectors
            Unit vectors, float32, (texts, dimensions).

        Raises
        ------
        UnusableTextError
            If a text is empty or no valid Unicode; says which, and embeds none.
        """
        rows, truncated = self._tokenise(texts)
        lengths = np.array([row.size for row in rows], dtype=np.int64)
        vectors = np.empty((len(rows), self.dimensions), dtype=np.float32)

        def run(batch: NDArray[np.int64]) -> None:
            vectors[batch] = run_batch(
                self._session, [rows[i] for i in batch], self.manifest.pad_id
            )

        # On the CPU a budget of nothing makes every text a batch of its own.
        budget = self._batch_tokens if self.device == "cuda" else 0
        for _ in self._pool.map(run, token_batches(lengths, budget)):
            pass  # asking for each result raises what its run raised
        if not self.manifest.normalise:  # profiles add unit vectors
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with self._counting:
            self.totals = replace(
                self.totals,
                texts=self.totals.texts + len(rows),
                tokens=self.totals.tokens + int(lengths.sum()),
                truncated=self.totals.truncated + truncated,
            )
        return vectors

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tokenise(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int64]], int]:
        """Token ids of each text, and how many texts were cut."""
        for index, text in enumerate(texts):
            if not text.strip():
                raise UnusableTextError(
                    f"text {index} of {len(texts)} is empty; leave such texts out."
                )
        try:
            encodings: Iterable[Encoding] = self._tokenizer.encode_batch_fast(list(texts))
        except (UnicodeEncodeError, TypeError) as error:
            raise UnusableTextError(_describe_bad_unicode(texts)) from error
        rows, truncated = [], 0
        for encoding in encodings:
            rows.append(np.array(encoding.ids, dtype=np.int64))
            truncated += bool(encoding.overflowing)
        return rows, truncated


def token_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Group texts of like length, longest first, by a budget of tokens.

    A batch costs its longest text's length times its number of texts, padding being computed too.
    A text longer than the budget is a batch of its own.

    Parameters
    ----------
    lengths
        Tokens of each text, (texts,).
    budget
        Most tokens of a batch.

    Returns
    -------
    list of arrays
        Indices of the texts of each batch; every text is in one. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < order.size:
        size = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def run_batch(session: Any, rows: Sequence[NDArray[np.int64]], pad_id: int) -> Vectors:
    """Run texts of one batch, padded on the right to the longest.

    Parameters
    ----------
    session
        A session of a graph of `models.embedding.bert_graph`.
    rows
        Token ids of each text.
    pad_id
        The token to pad with.

    Returns
    -------
    Vectors
        The graph's output, (texts, dimensions).
    """
    lengths = np.array([row.size for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, np.newaxis]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate(rows)
    feeds = {
        "input_ids": ids,
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.zeros_like(ids),
    }
    vectors: Vectors = session.run([OUTPUT], feeds)[0]
    return vectors


def _open(path: Path, manifest: Manifest, device: Device) -> tuple[Any, Literal["cpu", "cuda"]]:
    """Open the session where it belongs: int8 on the CPU, fp32 on a GPU if there is one."""
    if manifest.precision == "int8":
        if device == "cuda":
            raise DeviceUnavailableError(
                "device 'cuda' was asked for, but the model's precision is 'int8', which is for "
                "CPUs; prepare the model with precision 'fp32'."
            )
        if not int8_is_exact():
            logger.warning(
                "This CPU has no VNNI instructions: int8 is slower here, and its vectors may "
                "differ from other machines'; fp32 is the safer choice."
            )
        return open_session(path, "cpu"), "cpu"
    if device == "cpu":
        return open_session(path, "cpu"), "cpu"
    try:
        return open_session(path, "cuda"), "cuda"
    except DeviceUnavailableError as error:
        if device == "cuda":
            raise
        logger.info("Embedding on the CPU: %s", error)
        return open_session(path, "cpu"), "cpu"


def _load_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DamagedFileError(
            f"{path} is not a tokenizer ({error}); prepare the model again."
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _describe_bad_unicode(texts: Sequence[str]) -> str:
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"text {index} of {len(texts)} has a lone surrogate; refuse such texts earlier."
    return f"the tokenizer refused one of {len(texts)} texts."
