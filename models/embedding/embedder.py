"""Texts to unit vectors: tokenising, and a runner that cuts and schedules the work."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from tokenizers import Encoding, Tokenizer

from models.embedding.errors import DamagedFileError, UnusableTextError
from models.embedding.manifest import TOKENIZER_FILE, Manifest
from models.embedding.runners import Runner, TokenIds, Vectors, open_runner
from models.embedding.runtime import Device


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
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    threads
        Texts embedded at the same time; 1 on a GPU.
    totals
        Counts since it was loaded.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer, runner: Runner) -> None:
        self.manifest = manifest
        self.device = runner.device
        self.threads = runner.threads
        self.totals = EmbeddingTotals()
        self._tokenizer = tokenizer
        self._runner = runner
        self._counting = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        device: Device = "auto",
        batch_tokens: int = 16_384,
        sessions: int = 1,
        allow_cpu_fallback: bool = False,
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
            Sessions on one GPU.
        allow_cpu_fallback
            Go on with the CPU where the GPU that was asked for is not to be had.

        Raises
        ------
        MissingFileError, DamagedFileError
            If the folder is not as its manifest says.
        DeviceUnavailableError
            If what was asked for is not to be had, or does not suit the model's precision.
        """
        manifest = Manifest.read(folder)
        runner = open_runner(
            folder,
            manifest,
            device=device,
            threads=threads,
            batch_tokens=batch_tokens,
            sessions=sessions,
            allow_cpu_fallback=allow_cpu_fallback,
        )
        return cls(manifest, load_tokenizer(folder / TOKENIZER_FILE, manifest.max_tokens), runner)

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
        vectors = self._runner.run(rows)
        if not self.manifest.normalise:  # profiles add unit vectors
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with self._counting:
            self.totals = replace(
                self.totals,
                texts=self.totals.texts + len(rows),
                tokens=self.totals.tokens + sum(row.size for row in rows),
                truncated=self.totals.truncated + truncated,
            )
        return vectors

    def close(self) -> None:
        """End the threads; what is being embedded is finished first."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tokenise(self, texts: Sequence[str]) -> tuple[list[TokenIds], int]:
        """Token ids of each text, and how many texts were cut."""
        for index, text in enumerate(texts):
            if not text.strip():
                raise UnusableTextError(
                    f"text {index} of {len(texts)} is empty; leave such texts out."
                )
        prefixed = [self.manifest.prefix + text for text in texts]
        try:
            encodings: Iterable[Encoding] = self._tokenizer.encode_batch_fast(prefixed)
        except (UnicodeEncodeError, TypeError) as error:
            raise UnusableTextError(_describe_bad_unicode(texts)) from error
        rows, truncated = [], 0
        for encoding in encodings:
            rows.append(np.array(encoding.ids, dtype=np.int64))
            truncated += bool(encoding.overflowing)
        return rows, truncated


def load_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """Open a tokenizer that cuts texts off and pads none.

    Raises
    ------
    DamagedFileError
        If the file is none.
    """
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
