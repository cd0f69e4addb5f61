"""The models that are supported by name, from a checkpoint's files to vectors."""

from pathlib import Path

import numpy as np
import pytest

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.making.export import export_model
from models.embedding.making.prepare import prepare_model
from models.embedding.manifest import Manifest
from tests.models.embedding.small_encoders import (
    BERT_CHINESE,
    BGE,
    E5,
    ENCODERS,
    TEXTS,
    XLM_ROBERTA,
    SmallEncoder,
)

BY_NAME = pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.name)


@BY_NAME
def test_an_exported_model_gives_the_vectors_of_a_naive_float64_bert(
    encoder: SmallEncoder, tmp_path: Path
) -> None:
    export_model(str(encoder.write(tmp_path)), tmp_path / "out", precision="fp32")
    with OnnxEmbedder.load(tmp_path / "out", device="cpu") as embedder:
        actual = embedder.embed(TEXTS)
    np.testing.assert_allclose(actual, encoder.reference(TEXTS), atol=1e-5)


@BY_NAME
def test_int8_stays_near_that(encoder: SmallEncoder, tmp_path: Path) -> None:
    folder = prepare_model(str(encoder.write(tmp_path)), "int8", cache=tmp_path / "cache")
    with OnnxEmbedder.load(folder) as embedder:
        cosine = np.sum(embedder.embed(TEXTS) * encoder.reference(TEXTS), axis=1)
    assert cosine.min() > 0.98


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (E5, ("mean", True, "query: ", 512, 0)),
        (BGE, ("cls", True, "", 512, 0)),
        (BERT_CHINESE, ("mean", False, "", 512, 0)),
        (XLM_ROBERTA, ("mean", False, "", 128, 1)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_a_model_wants_of_texts_is_read_from_its_own_files(
    encoder: SmallEncoder, expected: tuple[object, ...], tmp_path: Path
) -> None:
    manifest = export_model(str(encoder.write(tmp_path)), tmp_path / "out", precision="fp32")
    read = (manifest.pooling, manifest.normalise, manifest.prefix, manifest.max_tokens)
    assert (*read, manifest.pad_id) == expected
    assert manifest == Manifest.read(tmp_path / "out")


def test_the_prefix_stands_before_every_text(tmp_path: Path) -> None:
    source = str(E5.write(tmp_path))
    export_model(source, tmp_path / "with", precision="fp32")
    export_model(source, tmp_path / "without", precision="fp32", prefix="")
    with (
        OnnxEmbedder.load(tmp_path / "with", device="cpu") as prefixed,
        OnnxEmbedder.load(tmp_path / "without", device="cpu") as bare,
    ):
        by_hand = bare.embed([f"query: {text}" for text in TEXTS])
        np.testing.assert_array_equal(prefixed.embed(TEXTS), by_hand)
        assert prefixed.identity != bare.identity


def test_the_tokens_are_those_of_the_models_own_tokenizer() -> None:
    """What the tests above rest on: the small tokenizers are of the true kinds."""
    pieces = E5.tokenizer().encode("query: a coffee 物流")
    assert pieces.tokens == ["<s>", "▁query", ":", "▁a", "▁coffee", "▁", "物", "流", "</s>"]
    assert set(pieces.type_ids) == {0}
    words = BGE.tokenizer().encode("Coffees 物流")
    assert words.tokens == ["[CLS]", "coffee", "##s", "物", "流", "[SEP]"]
