import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.embedding.errors import DamagedFileError, MissingFileError
from models.embedding.manifest import Manifest, Provenance, is_exported

MANIFEST = Manifest(
    name="a-model",
    dimensions=384,
    max_tokens=256,
    pad_id=0,
    prefix="query: ",
    pooling="mean",
    normalise=True,
    precision="int8",
    opset=18,
    exporter="direct",
    exporter_version="1",
    operators={"Attention": 6},
    files={"model.onnx": "ab" * 32, "tokenizer.json": "cd" * 32},
    provenance=Provenance(
        source="a local folder", source_files={"config.json": "ef" * 32}, libraries={"onnx": "1.23"}
    ),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dimensions", 385),
        ("max_tokens", 128),
        ("pad_id", 1),
        ("prefix", ""),
        ("pooling", "cls"),
        ("normalise", False),
        ("precision", "fp32"),
        ("files", {"model.onnx": "ab" * 32, "tokenizer.json": "ce" * 32}),
    ],
)
def test_all_that_changes_vectors_changes_the_identity(field: str, value: object) -> None:
    assert MANIFEST.model_copy(update={field: value}).identity != MANIFEST.identity


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "another"),
        ("exporter", "optimum"),
        ("exporter_version", "9"),
        ("opset", 20),
        ("operators", {}),
        ("provenance", Provenance(source="elsewhere", source_files={}, libraries={})),
    ],
)
def test_how_a_model_was_made_does_not(field: str, value: object) -> None:
    assert MANIFEST.model_copy(update={field: value}).identity == MANIFEST.identity


def test_every_field_is_under_test_above() -> None:
    fields = [
        mark.args[1]
        for test in (
            test_all_that_changes_vectors_changes_the_identity,
            test_how_a_model_was_made_does_not,
        )
        for mark in test.pytestmark  # type: ignore[attr-defined]
    ]
    named = {name for values in fields for name, _ in values}
    assert named == set(Manifest.model_fields) - {"format"}


def test_the_languages_that_a_model_reads_are_written_where_they_are_known(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert "languages" not in (tmp_path / "manifest.json").read_text(encoding="utf-8")
    provenance = MANIFEST.provenance.model_copy(update={"languages": ("de", "fr")})
    MANIFEST.model_copy(update={"provenance": provenance}).write(tmp_path)
    found = Manifest.describe(tmp_path)
    assert (found.reads, found.identity) == (("de", "fr"), MANIFEST.identity)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.describe(tmp_path) == MANIFEST
    content = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert (content["identity"], content["format"]) == (MANIFEST.identity, 2)


@given(st.data())
def test_no_damage_is_read_as_another_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    MANIFEST.write(folder)
    path = folder / "manifest.json"
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.sampled_from(["cut", "flip", "drop", "double"]))
    path.write_bytes(
        {
            "cut": whole[:place],
            "flip": whole[:place]
            + bytes([whole[place] ^ data.draw(st.integers(1, 255))])
            + whole[place + 1 :],
            "drop": whole[:place] + whole[place + 1 :],
            "double": whole[:place] + whole[place : place + 1] + whole[place:],
        }[damage]
    )
    try:
        manifest = Manifest.describe(folder)
    except DamagedFileError:
        return
    assert manifest.identity == MANIFEST.identity  # a name, a version, white space


def rewritten(folder: Path, **changes: Any) -> Path:
    MANIFEST.write(folder)
    path = folder / "manifest.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"tokenizer.json": "ab"}, "model.onnx is not among them"),
        ({"model.onnx": "ab"}, "tokenizer.json is not among them"),
        ({**MANIFEST.files, "../weights.bin": "ab"}, "'../weights.bin' is no plain file name"),
        ({**MANIFEST.files, "/etc/passwd": "ab"}, "'/etc/passwd' is no plain file name"),
    ],
)
def test_a_manifest_tells_of_the_models_own_files_and_no_others(
    files: dict[str, str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(DamagedFileError, match=reason):
        Manifest.describe(rewritten(tmp_path, files=files))


@pytest.mark.parametrize("number", [1, 3, "2"])
def test_a_manifest_of_another_format_is_named_as_such(number: object, tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=f"is of format {number!r}, but this release"):
        Manifest.describe(rewritten(tmp_path, format=number))


def test_the_first_format_did_not_tell_its_number(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"identity": "ab", "name": "x"}', encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"format 1, .* `segmenter model prepare`"):
        Manifest.describe(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '"x"', "null", "{}", "\ud800"])
def test_what_is_no_manifest_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DamagedFileError, match=r"manifest\.json is") as refusal:
        Manifest.describe(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_folder_without_a_manifest_holds_no_exported_model(tmp_path: Path) -> None:
    assert not is_exported(str(tmp_path))
    assert not is_exported(str(tmp_path / "missing"))
    with pytest.raises(MissingFileError, match=r"manifest\.json is missing"):
        Manifest.describe(tmp_path)
    MANIFEST.write(tmp_path)
    assert is_exported(str(tmp_path))
