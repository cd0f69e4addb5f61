"""Makes a model folder: graph, tokenizer and manifest, from a checkpoint.

`export_model` writes one where the user wants it; `models.embedding.making.prepare` keeps them in a
cache.
"""

import logging
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from tokenizers import Tokenizer, normalizers

from models.embedding.cache import cache_folder
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.runners import Vectors
from models.embedding.errors import (
    DamagedFileError,
    ExportFailedError,
    UnfaithfulModelError,
    UnsupportedModelError,
)
from models.embedding.languages import card_languages
from models.embedding.making.exporters import (
    BuiltModel,
    build_direct,
    fused_operators,
    opset,
    require_tokenizer,
)
from models.embedding.making.optimum_export import build_optimum
from models.embedding.making.pieces import write_pieces
from models.embedding.making.sample_texts import PROBES
from models.embedding.making.steps import Tell, untold
from models.embedding.making.verification import verify_model
from models.embedding.making.weights import Source, expect_room, resolve_source, staged_folder
from models.embedding.manifest import (
    MODEL_FILE,
    TOKENIZER_FILE,
    Exporter,
    Manifest,
    Precision,
    Provenance,
    is_exported,
)
from models.embedding.model_files import file_digest
from models.embedding.prepared import BOTH, WORDS
from models.embedding.words.manifest import is_words

logger = logging.getLogger(__name__)

LEAST_COSINES: dict[Precision, float] = {"int8": 0.97, "fp16": 0.9995}
"""A model is refused if a probe's vector is further than this from its fp32 vector.

Both less the mean of the fp32 vectors: in some models any two texts have a cosine of .8 and more,
and what tells them apart would be lost beside what they share.

all-MiniLM-L6-v2 has 0.997 at worst in int8; a model far below was not made for eight bits. fp16 is
looked at on the CPU, which shows what rounding the weights costs.
"""

DEFAULT_PRECISIONS: dict[Exporter, Precision] = {"direct": "int8", "optimum": "fp32"}


@dataclass(frozen=True)
class ExportOptions:
    """How to make a model.

    Parameters
    ----------
    precision
        ``int8`` for CPUs, ``fp16`` for GPUs, ``fp32`` for both and for reference.
    exporter
        ``direct`` for the BERT family, ``optimum`` for any encoder, with torch.
    prefix
        What to put before every text, by default what the checkpoint says.
    """

    precision: Precision
    exporter: Exporter = "direct"
    prefix: str | None = None


def export_model(
    source: str,
    output: Path,
    *,
    precision: Precision | None = None,
    exporter: Exporter = "direct",
    prefix: str | None = None,
    cache: Path | None = None,
    tell: Tell = untold,
) -> Manifest:
    """Write a model into a folder of its own, whole and checked or not at all.

    Parameters
    ----------
    source
        ``default`` (all-MiniLM-L6-v2), ``multilingual`` (multilingual-e5-small), a checkpoint's
        folder, or a hub id.
    output
        The folder to make; it must not exist, or be empty.
    precision
        By default int8, or fp32 from `optimum`, which knows no int8.
    exporter, prefix
        As in `ExportOptions`.
    cache
        Where weights are kept that come as a package, by default the user's cache folder.
    tell
        Told of each step.

    Raises
    ------
    OutputExistsError
        If `output` is there and not empty.
    EmbeddingError
        One of its other subclasses: the weights cannot be had, are damaged, are of an architecture
        that is not supported, or lose too much in int8 or fp16.
    """
    if source == BOTH:
        raise UnsupportedModelError(
            "both is two models: export the encoder that embedding.both.model names, and fit words "
            "with `segmenter model fit words`."
        )
    if source == WORDS or is_words(Path(source).expanduser()):
        raise UnsupportedModelError(
            f"{source} is fitted on your own history, and not exported: `segmenter model fit "
            "words` makes its folder, which can be copied to other machines as it is."
        )
    if is_exported(source):
        raise UnsupportedModelError(
            f"{source} is an exported model already; export the checkpoint that it was made from."
        )
    output = output.expanduser().absolute()
    expect_room(output)
    options = ExportOptions(precision or DEFAULT_PRECISIONS[exporter], exporter, prefix)
    cache = cache or cache_folder()
    found = resolve_source(source, cache, exporter)
    logger.info("Exporting %s in %s with %s", found.name, options.precision, exporter)
    with found.checkpoint(cache, tell) as weights, staged_folder(output, sole=True) as staging:
        manifest = write_model(found, weights, options, staging, tell)
        report = verify_model(staging)
        if not report.passed:
            raise ExportFailedError(f"the model came out wrong: {report.violations[0]}.")
    return manifest


def write_model(
    source: Source, weights: Path, options: ExportOptions, folder: Path, tell: Tell = untold
) -> Manifest:
    """Fill an empty folder with a model, tell of each step, and refuse it if it strays from fp32.

    The same weights and options give the same bytes, on any machine with the same libraries.
    """
    manifest = _write(source, weights, options, folder, tell)
    if options.precision in LEAST_COSINES:
        tell("comparing it with fp32", 0, None)
        _check_fidelity(source, weights, options, folder)
    return manifest


def _write(
    source: Source, weights: Path, options: ExportOptions, folder: Path, tell: Tell = untold
) -> Manifest:
    tell("writing the model", 0, None)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as work:
        built = _build(source, weights, options, folder, work=Path(work), tell=tell)
        _write_tokenizer(built, folder / TOKENIZER_FILE)
    pieces = write_pieces(folder) if options.exporter == "direct" else ()
    graph = onnx.load(folder / MODEL_FILE, load_external_data=False)
    manifest = Manifest(
        name=source.name,
        dimensions=built.dimensions,
        max_tokens=built.text.max_tokens,
        pad_id=built.text.pad_id,
        prefix=built.text.prefix,
        pooling=built.text.pooling,
        normalise=built.text.normalise,
        precision=options.precision,
        opset=opset(graph),
        exporter=options.exporter,
        exporter_version=built.exporter_version,
        operators=fused_operators(graph),
        files={
            name: file_digest(folder / name) for name in (*built.files, TOKENIZER_FILE, *pieces)
        },
        provenance=Provenance(
            source=source.origin,
            source_files=dict(source.digests),
            libraries=dict(built.libraries),
            languages=card_languages(weights),
        ),
    )
    manifest.write(folder)
    return manifest


def _build(
    source: Source,
    weights: Path,
    options: ExportOptions,
    folder: Path,
    *,
    work: Path,
    tell: Tell,
) -> BuiltModel:
    if options.exporter == "optimum":
        return build_optimum(
            weights,
            folder,
            name=source.name,
            precision=options.precision,
            prefix=options.prefix,
            work=work,
        )
    return build_direct(
        weights,
        folder,
        name=source.name,
        precision=options.precision,
        prefix=options.prefix,
        tell=tell,
    )


def _write_tokenizer(built: BuiltModel, target: Path) -> None:
    """Copy a tokenizer; make it lower-case texts where the checkpoint wants that apart from it.

    Raises
    ------
    DamagedFileError
        If it is none.
    UnsupportedModelError
        If it makes ids that the model has no vectors for.
    """
    path = require_tokenizer(built.tokenizer)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DamagedFileError(f"{path} is not a tokenizer ({error}); fetch it again.") from error
    largest = max(tokenizer.get_vocab().values(), default=0)
    if built.vocabulary is not None and largest >= built.vocabulary:
        raise UnsupportedModelError(
            f"tokenizer.json has ids up to {largest}, but config.json has vocab_size = "
            f"{built.vocabulary}; the two files do not belong together."
        )
    old = tokenizer.normalizer
    if not built.text.lower_case or (old is not None and old.normalize_str("A").islower()):
        shutil.copyfile(path, target)
        return
    # In front, as sentence-transformers does.
    steps = [normalizers.Lowercase(), *([] if old is None else [old])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.save(str(target))


def _check_fidelity(source: Source, weights: Path, options: ExportOptions, folder: Path) -> None:
    """Refuse a model of lower precision that strays from fp32 on a few texts."""
    precision, least = options.precision, LEAST_COSINES[options.precision]
    with tempfile.TemporaryDirectory(dir=folder.parent) as reference:
        _write(source, weights, replace(options, precision="fp32"), Path(reference))
        exact = _embed_probes(Path(reference))
    found = _embed_probes(folder)
    plain, cosine = np.sum(exact * found, axis=1), centred_cosine(exact, found)
    logger.info(
        "Cosine of %s to fp32: mean %.5f, least %.5f; of centred vectors %.5f and %.5f",
        precision,
        plain.mean(),
        plain.min(),
        cosine.mean(),
        cosine.min(),
    )
    if not cosine.min() >= least:
        raise UnfaithfulModelError(
            f"{precision} vectors of {source.name} have a cosine of only {cosine.min():.4f} to "
            f"those of fp32, both centred (least allowed {least}); prepare it with precision "
            "'fp32'."
        )


def centred_cosine(exact: Vectors, others: Vectors) -> Vectors:
    """Cosine of each vector to its exact one, both less the mean of the exact ones: (texts,)."""
    mean = exact.mean(axis=0)
    first, second = exact - mean, others - mean
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine: Vectors = np.sum(first * second, axis=1) / lengths
    return cosine


def _embed_probes(folder: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    with OnnxEmbedder.load(folder, threads=1, device="cpu", allow_cpu_fallback=True) as embedder:
        return embedder.embed(PROBES)
