"""How texts are embedded, and where: the section `embedding` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Section

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
"""What may be asked for. ``auto``: CUDA where there is a GPU and the precision is for it."""

Engine = Literal["onnxruntime", "openvino"]
"""What runs an encoder on the CPU."""

LongTexts = Literal["truncate", "chunk"]

BATCH_TOKENS = 16_384
MAX_CHUNKS = 16

# By script and function words, whatever the texts beside.
_TOLD_LANGUAGES = ("en", "ja", "ko", "zh")

DIMENSIONS = 64
"""Of `words`, where no others are asked for: docs/evaluation.md weighs them."""

LEAST_TEXTS = 100
"""Different texts without which nothing can be said of words."""

MOST_TEXTS = 200_000
"""Different texts that `words` is fitted on at most: more tell little and take memory."""


def _refuse_openvino(engine: Engine, precision: str) -> None:
    if engine == "openvino" and precision in ("fp16", "fp32"):
        raise ValueError(
            f"engine is openvino, which runs int8 models, and precision is {precision}: set engine "
            "to onnxruntime, or precision to int8"
        )


class WordsPolicy(Section):
    """The model `words`, which is fitted on one's own history."""

    folder: Path | None = Field(
        None,
        description="Folder that 'segmenter model fit words' makes and processes read, alike for "
        "all of a group; when not set, one in the user's cache.",
    )


class BothPolicy(Section):
    """The model `both`: the vectors of an encoder and of `words`, joined."""

    model: str = Field(
        "default",
        min_length=1,
        description="The encoder, named as in embedding.model.",
    )
    words_weight: float = Field(
        0.5, gt=0, lt=1, description="Weight of 'words' in the cosine of two texts."
    )
    language_weights: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default_factory=dict,
        description="Language (zh, en, ja, ko): the weight of 'words' in its texts, where it is "
        "another.",
    )

    @field_validator("model")
    @classmethod
    def _an_encoder(cls, value: str) -> str:
        if value in ("words", "both"):
            raise ValueError(f"{value} is no encoder: name the model that goes beside 'words'")
        return value

    @field_validator("language_weights")
    @classmethod
    def _told_languages(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(value.keys() - set(_TOLD_LANGUAGES)):
            told = ", ".join(_TOLD_LANGUAGES)
            raise ValueError(f"{unknown[0]!r} is none of the languages told at a glance: {told}")
        return value


class FormerPolicy(Section):
    """The embedding model that a running group is leaving, while its workers hold both."""

    model: str | None = Field(
        None,
        min_length=1,
        description="The model that the group is changed from while it runs, named as in "
        "embedding.model; none where no such change is under way.",
    )
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto", description="Arithmetic of the former model."
    )
    engine: Engine = Field("onnxruntime", description="What ran the former model on the CPU.")
    long_texts: LongTexts = Field(
        "truncate", description="What became of long texts under the former model."
    )
    max_chunks: int = Field(
        MAX_CHUNKS, ge=1, le=1024, description="Chunks of a text under the former model at most."
    )
    words_folder: Path | None = Field(
        None, description="The folder of the former model's words, where it had some."
    )

    @model_validator(mode="after")
    def _openvino_in_int8(self) -> Self:
        _refuse_openvino(self.engine, self.precision)
        return self


class EmbeddingPolicy(Section):
    """The embedding model and where it runs."""

    model: str = Field(
        "default",
        min_length=1,
        description="'default' (all-MiniLM-L6-v2, English), 'multilingual' "
        "(multilingual-e5-small), 'words' (fitted on your own history), 'both' (an encoder and "
        "words), a local folder, a hub id, or an exported model.",
    )
    words: WordsPolicy = Field(default_factory=WordsPolicy)
    both: BothPolicy = Field(default_factory=BothPolicy)
    former: FormerPolicy = Field(default_factory=FormerPolicy)
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto",
        description="Arithmetic; auto is an exported model's own, else int8 on the CPU and fp16 on "
        "a GPU.",
    )
    device: Device = Field(
        "auto", description="Where the model runs; auto takes a GPU that can be used."
    )
    engine: Engine = Field(
        "onnxruntime",
        description="What runs the model on the CPU. openvino is faster where there is AMX, and "
        "takes more memory; it runs int8 models and wants the extra of that name. Other vectors, "
        "a little: another embedding model.",
    )
    allow_cpu_fallback: bool = Field(
        False,
        description="Go on with the CPU where the GPU that device asks for cannot be used, in "
        "place of refusing to start.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="Cores that embed on the CPU; all of them when not set."
    )
    batch_tokens: int = Field(
        BATCH_TOKENS, ge=1, le=1_048_576, description="Tokens in a batch on a GPU at most."
    )
    gpu_sessions: int = Field(1, ge=1, le=16, description="Batches that run side by side on a GPU.")
    long_texts: LongTexts = Field(
        "truncate",
        description="What becomes of a text beyond the model's longest input: truncate keeps its "
        "beginning, chunk cuts it up and takes the mean. Other vectors: another embedding model.",
    )
    max_chunks: int = Field(
        MAX_CHUNKS,
        ge=1,
        le=1024,
        description="Chunks of a text at most, the rest is truncated. It is part of the embedding "
        "model's identity where long_texts is chunk.",
    )
    cache_texts: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Vectors kept of the texts seen last, 1.5 kB each with 384 dimensions; a text "
        "that comes again is not embedded again. 0 keeps none.",
    )

    max_unknown_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Share of tokens that the model does not know, or of letters in scripts that "
        "it does not read, above which a warning names the model to take; 1 never warns.",
    )

    @model_validator(mode="after")
    def _openvino_in_int8(self) -> Self:
        if self.engine == "openvino" and self.device in ("cuda", "tensorrt"):
            raise ValueError(
                f"engine is openvino, which runs on CPUs, and device is {self.device}: set "
                "engine to onnxruntime, or device to cpu"
            )
        _refuse_openvino(self.engine, self.precision)
        return self

    @model_validator(mode="after")
    def _int8_on_the_cpu(self) -> Self:
        if self.precision == "int8" and self.device in ("cuda", "tensorrt"):
            raise ValueError(
                f"precision is int8, which is for CPUs, and device is {self.device}: "
                "set precision to fp16 or auto, or device to cpu"
            )
        return self

    @model_validator(mode="after")
    def _another_model(self) -> Self:
        if self.former.model is not None and self._alike(self.of_former()):
            raise ValueError(
                f"former.model is {self.former.model!r}, and nothing about it differs from the "
                "model that the group is to have: give in former what the workers had before, or "
                "leave it out"
            )
        return self

    def _alike(self, other: Self) -> bool:
        """Tell whether two policies name one model; what is left open is not compared."""
        own = ("model", "precision", "engine", "long_texts", "max_chunks", "words", "both")
        return all(getattr(self, name) == getattr(other, name) for name in own)

    def of_former(self) -> Self:
        """Give the policy of the former model, on the device and with the cores of this one."""
        former = self.former
        words = self.words
        if former.words_folder is not None:
            words = words.model_copy(update={"folder": former.words_folder})
        device = self.device
        on_cpu = former.precision == "int8" or former.engine == "openvino"
        if on_cpu and device in ("cuda", "tensorrt"):
            device = "cpu"
        return self.model_copy(
            update={
                "model": former.model or self.model,
                "precision": former.precision,
                "engine": former.engine,
                "long_texts": former.long_texts,
                "max_chunks": former.max_chunks,
                "words": words,
                "device": device,
                "former": FormerPolicy(),
            }
        )
