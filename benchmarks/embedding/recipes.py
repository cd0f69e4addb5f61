"""The default model in int8 by several recipes: the points of the product's own curve."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx

from models.embedding.cache import cache_folder
from models.embedding.making.bert_int8 import Int8Recipe, build_int8
from models.embedding.making.exporters import calibrate, fused_operators
from models.embedding.making.graph_writer import Weights
from models.embedding.making.pretrained import read_config, read_weights
from models.embedding.making.weights import DEFAULT_SOURCE, resolve_source
from models.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest
from models.embedding.model_files import file_digest

RECIPES = {
    "int8, one range a product": Int8Recipe(smoothing=0, outlier_neurons=0),
    "int8, smoothed": Int8Recipe(outlier_neurons=0),
    "int8, outliers in fp32": Int8Recipe(smoothing=0),
    "int8, first block in fp32": Int8Recipe(float_layers=1),
    "int8, three blocks in fp32": Int8Recipe(float_layers=3),
}
"""By what they are called in the picture; the product's own recipe is a contender already."""


def write_variants(prepared: Path, work: Path) -> list[tuple[str, Path]]:
    """Write a model folder for each recipe into `work`; `prepared` is the product's int8 model."""
    weights = resolve_source(DEFAULT_SOURCE, cache_folder()).fetch()
    config = read_config(weights)
    encoder = Weights(config, read_weights(weights, config))
    ranges = calibrate(config, encoder, weights / TOKENIZER_FILE)
    manifest = Manifest.read(prepared)
    variants = []
    for number, (name, recipe) in enumerate(RECIPES.items()):
        folder = work / f"recipe-{number}"
        folder.mkdir()
        shutil.copyfile(prepared / TOKENIZER_FILE, folder / TOKENIZER_FILE)
        graph = build_int8(config, encoder, ranges, recipe)
        onnx.save(graph, folder / MODEL_FILE)
        files = {file: file_digest(folder / file) for file in manifest.files}
        changes = {"files": files, "operators": fused_operators(graph)}
        manifest.model_copy(update=changes).write(folder)
        variants.append((name, folder))
    return variants
