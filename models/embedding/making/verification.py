"""Checks a model folder from its manifest to its vectors: `segmenter model verify`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DeviceUnavailableError, EmbeddingError
from models.embedding.making.bert_int8 import INPUT
from models.embedding.making.exporters import fused_operators
from models.embedding.making.sample_texts import PROBES
from models.embedding.manifest import INPUTS, MODEL_FILE, OUTPUT, Manifest, Precision
from models.embedding.policy import Device
from models.embedding.runner_types import Vectors
from models.embedding.stated import MANIFEST_FILE
from models.embedding.words.embedder import WordsEmbedder
from models.embedding.words.manifest import PROJECTION_FILE, WordsManifest, is_words
from models.embedding.words.projection import UNKNOWN

_NEIGHBOURS: dict[Precision, float] = {"fp32": 1e-5, "fp16": 3.2e-2, "int8": 0.0}
"""How far a text's vector may be from the one it has alone: its neighbours must not matter.

Euclidean distance of unit vectors. fp16's is that of a cosine of 0.9995; int8 must agree exactly.
"""
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    subject
        What.
    passed
        None if it could not be looked at here.
    detail
        What was found.
    """

    subject: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class ModelReport:
    """What a look at a model folder found."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.violations

    @property
    def violations(self) -> list[str]:
        """What is wrong, a sentence each."""
        return [check.detail for check in self.checks if check.passed is False]

    def render(self) -> str:
        """Give the report as text, a line a check."""
        words = {True: "ok", False: "WRONG", None: "not checked"}
        return "".join(
            f"{check.subject:<10} {words[check.passed]:<12} {check.detail}\n"
            for check in self.checks
        )


class _ViolationError(Exception):
    """What a check found wrong."""


def verify_model(folder: Path) -> ModelReport:
    """Check everything about a model folder that can be checked on this machine.

    A check that fails ends the others that build on it: a graph with the wrong digest is not run.
    """
    checks: list[Check] = []
    for subject, look in _checks(folder):
        try:
            checks.append(Check(subject, True, look()))
        except DeviceUnavailableError as error:
            checks.append(Check(subject, None, str(error).rstrip(".")))
        except (EmbeddingError, _ViolationError) as error:
            checks.append(Check(subject, False, str(error).rstrip(".")))
            break
    return ModelReport(tuple(checks))


def _checks(folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    if is_words(folder):
        yield "manifest", lambda: _check_words_manifest(folder)
        yield "files", lambda: _check_files(folder)
        yield "vectors", lambda: _check_words(folder)
        return
    yield "manifest", lambda: _check_manifest(folder)
    yield "files", lambda: _check_files(folder)
    yield "graph", lambda: _check_graph(folder)
    yield "vectors", lambda: _check_vectors(folder)


def _check_manifest(folder: Path) -> str:
    manifest = Manifest.describe(folder)
    return (
        f"{manifest.name}, {manifest.precision}, {manifest.dimensions} dimensions, "
        f"{manifest.max_tokens} tokens, {manifest.pooling} pooling, "
        f"{'normalised' if manifest.normalise else 'not normalised'}, prefix {manifest.prefix!r}, "
        f"by {manifest.exporter} {manifest.exporter_version}, identity {manifest.identity}"
    )


def _check_words_manifest(folder: Path) -> str:
    manifest = WordsManifest.describe(folder)
    fitted = manifest.fitted
    return (
        f"{manifest.name}, {manifest.dimensions} dimensions, {fitted.words:,} words of "
        f"{fitted.texts:,} texts in {', '.join(fitted.languages) or 'unknown languages'}, "
        f"identity {manifest.identity}"
    )


def _check_words(folder: Path) -> str:
    """Look at all that a model holds: any text's vector is a sum of its words' parts."""
    projection = np.load(folder / PROJECTION_FILE, mmap_mode="r")
    with WordsEmbedder.load(folder) as embedder:  # which looks whether texts are cut alike
        known = int(np.isfinite(embedder.embed(PROBES)).all(axis=1).sum())
    if not np.isfinite(projection).all() or projection[UNKNOWN].any():
        raise _ViolationError("a word's part of a vector is not finite, or an unknown word has one")
    silent = int((~projection[UNKNOWN + 1 :].any(axis=1)).sum())
    if silent:
        raise _ViolationError(f"{silent:,} of the known words have no part in any vector")
    return f"all words' parts are finite; {known} of {len(PROBES)} texts have words that are known"


def _check_files(folder: Path) -> str:
    manifest = (WordsManifest if is_words(folder) else Manifest).read(folder)
    own = {MANIFEST_FILE, *manifest.files}
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in own and not path.name.startswith(".")
    )
    if foreign:
        raise _ViolationError(f"{folder / foreign[0]} is not in the manifest; remove it")
    size = sum((folder / name).stat().st_size for name in manifest.files)
    return f"{len(manifest.files)} with the manifest's SHA-256, {size / 1e6:.1f} MB"


def _check_graph(folder: Path) -> str:
    manifest = Manifest.describe(folder)
    path = folder / MODEL_FILE
    try:
        onnx.checker.check_model(str(path))
        graph = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's and onnx's own, with no common base
        raise _ViolationError(f"{path} is no valid ONNX graph ({type(error).__name__})") from error
    inputs = [entry.name for entry in graph.graph.input]
    outputs = {
        entry.name: entry.type.tensor_type.shape.dim[-1].dim_value for entry in graph.graph.output
    }
    expected = [INPUT] if manifest.precision == "int8" else list(INPUTS)
    if inputs != expected or outputs != {OUTPUT: manifest.dimensions}:
        raise _ViolationError(
            f"the graph makes {outputs} of {', '.join(inputs)}, but {OUTPUT} of "
            f"{manifest.dimensions} dimensions must be made of {', '.join(expected)}"
        )
    operators = fused_operators(graph)
    if operators != manifest.operators:
        raise _ViolationError(
            f"the graph has the fused operators {operators}, but the manifest says "
            f"{manifest.operators}"
        )
    found = ", ".join(f"{operator} {count}" for operator, count in operators.items())
    return f"opset {manifest.opset}, fused operators: {found or 'none'}"


def _check_vectors(folder: Path) -> str:
    manifest = Manifest.describe(folder)
    device: Device = "auto" if manifest.precision == "fp16" else "cpu"  # fp16 is for GPUs
    together = _embed(folder, device, [list(PROBES)])
    alone = _embed(folder, device, [[probe] for probe in reversed(PROBES)])[::-1]
    if together.shape != (len(PROBES), manifest.dimensions):
        raise _ViolationError(
            f"{len(PROBES)} texts gave an array of {together.shape}, but the manifest says "
            f"{manifest.dimensions} dimensions"
        )
    for vectors in (together, alone):
        if not np.isfinite(vectors).all():
            raise _ViolationError("the model gives no finite vector for a text")
        off = np.abs(np.linalg.norm(vectors, axis=1) - 1).max()
        if off > _LENGTH_TOLERANCE:
            raise _ViolationError(f"a vector's length is {off:.2g} away from one")
    distance = float(np.linalg.norm(together - alone, axis=1).max())
    if distance > _NEIGHBOURS[manifest.precision]:
        raise _ViolationError(f"a vector moves by {distance:.2g} with the texts beside it")
    return (
        f"of {len(PROBES)} texts: finite, of length one, {manifest.dimensions} "
        f"dimensions, at most {distance:.1g} apart with and without neighbours"
    )


def _embed(folder: Path, device: Device, calls: list[list[str]]) -> Vectors:
    """Embed each list of texts in a call of its own, with nothing remembered from before."""
    with OnnxEmbedder.load(folder, threads=1, device=device, allow_cpu_fallback=True) as embedder:
        try:
            return np.concatenate([embedder.embed(texts) for texts in calls])
        except Exception as error:  # ONNX Runtime's types have no common base
            raise _ViolationError(
                f"the model gives no finite vector for a text ({type(error).__name__})"
            ) from error
