"""Whether the embedding model is whole, loads, and runs where it was asked to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from consumer.doctor.facts import Finding, failed, fine, warning
from consumer.settings import Settings
from models.embedding.engine.text_embedder import ModelEmbedder
from models.embedding.errors import (
    DeviceUnavailableError,
    EmbeddingError,
    MissingPackageError,
    ModelNotMadeError,
)
from models.embedding.policy import EmbeddingPolicy

_TEXT = "a short text, to see that there is a vector of it"
_UNIT = 1e-2
"""By so much the length of a vector may differ from one: half of the numbers' precision in fp16."""


@dataclass(frozen=True)
class Loaded:
    """What became of the model."""

    findings: list[Finding]
    embedder: ModelEmbedder | None


def load(settings: Settings, loader: Callable[[Settings], ModelEmbedder]) -> Loaded:
    """Load the model as a worker does, which checks every file's digest, and embed a text."""
    try:
        embedder = loader(settings)
    except DeviceUnavailableError as error:
        return Loaded([failed("device", str(error), _DEVICE)], None)
    except ModelNotMadeError as error:
        advice = "run it here, or mount the folder that it made elsewhere"
        return Loaded([failed("model", str(error), advice)], None)
    except MissingPackageError as error:
        advice = "build the image with it, or set embedding.engine to onnxruntime"
        return Loaded([failed("model", str(error), advice)], None)
    except (EmbeddingError, OSError) as error:
        advice = "make or copy the model's folder anew (docs/operations.md, Models)"
        return Loaded([failed("model", str(error), advice)], None)
    return Loaded([_embeds(embedder), device(settings.embedding, embedder)], embedder)


_DEVICE = (
    "see that the pod has a GPU (nvidia.com/gpu), that its node has the driver, and that the image "
    "has the extra gpu; or set embedding.device to auto or cpu"
)


def _embeds(embedder: ModelEmbedder) -> Finding:
    vector = embedder.embed([_TEXT])[0]
    about = f"{embedder.manifest.name}, {embedder.manifest.precision}, {embedder.identity[:12]}"
    length = float(np.linalg.norm(vector))
    # That a model of words knows none of this text's is no fault of it.
    unknown = embedder.by_words_alone and bool(np.isnan(vector).all())
    if vector.shape != (embedder.dimensions,) or not (unknown or abs(length - 1) < _UNIT):
        return failed(
            "model",
            f"{about}: the vector of a text has the length {length:.3g} in place of 1",
            "make the model anew, and hold it against its original with 'segmenter model verify'",
        )
    reads = f"reads {', '.join(embedder.manifest.reads)}" if embedder.manifest.reads else ""
    told = [about, f"{embedder.dimensions} dimensions", reads or "does not say what it reads"]
    return fine("model", ", ".join(told))


def device(embedding: EmbeddingPolicy, embedder: ModelEmbedder) -> Finding:
    """Hold where the model runs against what was asked for, and what there is."""
    from models.embedding.runtime import (  # noqa: PLC0415 - loads ONNX Runtime
        gpu_available,
        int8_is_exact,
    )

    asked, used = embedding.device, embedder.device
    if embedder.fell_back:
        told = f"{asked} was asked for and cannot be used: the model runs on the {used}"
        return warning("device", told, _DEVICE)
    if used == "cpu" and asked == "auto" and not embedder.by_words_alone and gpu_available():
        return warning(
            "device",
            f"there is a GPU, and the model runs on the CPU in {embedder.manifest.precision}",
            "run 'segmenter model prepare' where the GPU is seen, or set embedding.precision to "
            "fp16; where CUDA's libraries are missing, install the extra gpu",
        )
    if used == "cpu" and embedder.manifest.precision == "int8" and not int8_is_exact():
        return warning(
            "device",
            "the model runs in int8 on a processor without VNNI, where products can overflow",
            "set embedding.precision to fp32, for all workers of the group",
        )
    return fine("device", f"{used}, as asked for ({asked})")
