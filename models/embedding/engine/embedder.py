"""Texts to unit vectors: what was seen lately is looked up, the rest is tokenised, cut and run."""

import hashlib
import json
from pathlib import Path
from typing import Self

from models.embedding.engine.pieces import AnyTokenizer
from models.embedding.engine.runners import open_runner
from models.embedding.engine.text_cache import TextHasher
from models.embedding.engine.text_embedder import TextEmbedder
from models.embedding.engine.tokenising import (
    TextTokeniser,
    TokeniserRecipe,
    open_tokenizer,
    unknown_token,
)
from models.embedding.manifest import Manifest
from models.embedding.policy import BATCH_TOKENS, MAX_CHUNKS, Device, Engine, LongTexts
from models.embedding.runner_types import Runner


class OnnxEmbedder(TextEmbedder):
    """Embeds texts with a prepared encoder. Use `OnnxEmbedder.load`.

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
    engine
        What the runner is of.

    Attributes
    ----------
    manifest
        The model's description.
    identity
        SHA-256 that changes whenever the vectors do: the manifest's own, or one over that and how
        long texts are cut and what runs the model, where that is not by truncating or not ONNX
        Runtime.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: AnyTokenizer,
        runner: Runner,
        *,
        long_texts: LongTexts = "truncate",
        max_chunks: int = MAX_CHUNKS,
        cache_texts: int = 0,
        folder: Path | None = None,
        engine: Engine = "onnxruntime",
    ) -> None:
        self.manifest: Manifest = manifest
        self._folder = folder
        self._max_chunks = chunks = max_chunks if long_texts == "chunk" else 1
        self._hasher = TextHasher()
        super().__init__(
            _identity(manifest, chunks, engine),
            manifest.dimensions,
            TextTokeniser(tokenizer, manifest.max_tokens, manifest.prefix, chunks, self._hasher),
            runner,
            unit=manifest.normalise,
            cache_texts=cache_texts,
            unknown_id=unknown_token(tokenizer),
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int | None = None,
        device: Device = "auto",
        engine: Engine = "onnxruntime",
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
        engine
            What runs an int8 model on the CPU.
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
            If the model's input has no room for a text, or the engine does not run it.
        MissingPackageError
            If the engine is not installed.
        DeviceUnavailableError
            If what was asked for is not to be had, or does not suit the model's precision.
        """
        manifest = Manifest.read(folder)
        tokenizer = open_tokenizer(folder, manifest.files)
        runner = open_runner(
            folder,
            manifest,
            device=device,
            engine=engine,
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
            engine=engine,
        )

    @property
    def recipe(self) -> TokeniserRecipe | None:
        """What other processes tokenise by, for `embed_tokens`; None where they cannot."""
        if self._folder is None:
            return None
        return TokeniserRecipe(
            self._folder.absolute(),
            self.manifest.tokenizer_files,
            self.manifest.max_tokens,
            self.manifest.prefix,
            self._max_chunks,
            self._hasher.secret,
        )


def _identity(manifest: Manifest, max_chunks: int, engine: Engine) -> str:
    """Name the vectors: one chunk in ONNX Runtime is what the model alone would do."""
    content: dict[str, str | int] = {}
    if max_chunks > 1:
        content |= {"long_texts": "chunk", "max_chunks": max_chunks}
    if engine != "onnxruntime":
        content |= {"engine": engine}
    if not content:
        return manifest.identity
    content["model"] = manifest.identity
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
