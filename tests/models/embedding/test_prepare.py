import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.embedding import prepared
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import (
    DamagedFileError,
    MissingFileError,
    ModelNotMadeError,
    PrecisionMismatchError,
    UnfaithfulModelError,
)
from models.embedding.making import export, exporters
from models.embedding.making.export import export_model
from models.embedding.making.prepare import prepare_model
from models.embedding.manifest import EXPORTER_VERSION, Manifest
from models.embedding.model_files import source_digests
from models.embedding.prepared import prepared_model
from tests.models.embedding.tiny_bert import MAX_TOKENS, TinyBert

DEFAULT_IDENTITIES = {2: "191c02f50fe1804ae1a6459f5dc39f6120743c04a8b24eca8aa88edcd6d2ded9"}
"""Of the default int8 model, by exporter version: whoever changes the graph makes a new version."""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_prepared_model_embeds(tiny_bert: TinyBert, cache: Path) -> None:
    folder = prepare_model(str(tiny_bert.folder), cache=cache)
    with OnnxEmbedder.load(folder) as embedder:
        assert embedder.embed(["the coffee was great"]).shape == (1, 32)


def test_the_manifest_describes_the_model(tiny_bert: TinyBert, cache: Path) -> None:
    tiny_bert.write_pooling("cls", normalise=False)
    manifest = Manifest.read(prepare_model(str(tiny_bert.folder), "fp32", cache))
    assert (manifest.name, manifest.provenance.source) == ("tiny-bert", "a local folder")
    assert (manifest.dimensions, manifest.max_tokens, manifest.pad_id) == (32, MAX_TOKENS, 0)
    assert (manifest.pooling, manifest.normalise) == ("cls", False)
    assert (manifest.precision, manifest.opset) == ("fp32", 18)
    assert (manifest.exporter, manifest.exporter_version) == ("direct", str(EXPORTER_VERSION))
    assert manifest.prefix == ""
    assert manifest.operators == {"Attention": 2, "BiasGelu": 2, "LayerNormalization": 5}
    assert manifest.provenance.source_files == source_digests(tiny_bert.folder)
    assert set(manifest.provenance.libraries) == {"numpy", "onnx"}
    assert set(manifest.files) == {"model.onnx", "tokenizer.json"}


def test_a_model_is_found_once_it_was_made_and_not_made_by_who_looks_for_it(
    tiny_bert: TinyBert, cache: Path
) -> None:
    source = str(tiny_bert.folder)
    with pytest.raises(ModelNotMadeError, match="`segmenter model prepare`, with the same sett"):
        prepared_model(source, cache=cache)
    assert not cache.exists()
    folder = prepare_model(source, cache=cache)
    assert prepared_model(source, cache=cache) == folder
    with pytest.raises(ModelNotMadeError):
        prepared_model(source, "fp32", cache=cache)


def test_a_hub_is_not_asked_for_a_model_that_was_never_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(_repository: str, *, local_files_only: bool, **_: Any) -> str:
        assert local_files_only
        raise FileNotFoundError

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(ModelNotMadeError, match="someone/some-bert is not ready"):
        prepared_model("someone/some-bert", cache=cache)


def test_a_model_is_made_once(
    tiny_bert: TinyBert, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare_model(str(tiny_bert.folder), cache=cache)
    monkeypatch.delattr(exporters, "build_bert")
    assert prepare_model(str(tiny_bert.folder), cache=cache) == folder


def test_changed_weights_and_a_newer_exporter_make_new_folders(
    tiny_bert: TinyBert, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {prepare_model(str(tiny_bert.folder), cache=cache)}
    folders.add(prepare_model(str(tiny_bert.folder), "fp32", cache))
    tiny_bert.tensors["embeddings.LayerNorm.bias"][0] += 1
    tiny_bert.write_weights()
    folders.add(prepare_model(str(tiny_bert.folder), cache=cache))
    monkeypatch.setattr(prepared, "EXPORTER_VERSION", EXPORTER_VERSION + 1)
    folders.add(prepare_model(str(tiny_bert.folder), cache=cache))
    assert len(folders) == 4
    # The same graph is the same model, whichever version has written it.
    assert len({Manifest.read(folder).identity for folder in folders}) == 3


def test_the_same_weights_have_the_same_identity_wherever_they_lie(
    tiny_bert: TinyBert, cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bert.folder, tmp_path / "a copy")
    first = Manifest.read(prepare_model(str(tiny_bert.folder), cache=cache))
    second = Manifest.read(prepare_model(str(tmp_path / "a copy"), cache=tmp_path / "other"))
    assert first.name != second.name
    assert first.identity == second.identity


def test_the_default_models_identity_is_the_same_on_every_machine(model_folder: Path) -> None:
    assert Manifest.read(model_folder).identity == DEFAULT_IDENTITIES[EXPORTER_VERSION]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "manifest.json"])
def test_a_damaged_model_is_refused_and_made_again(
    name: str, tiny_bert: TinyBert, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = prepare_model(str(tiny_bert.folder), cache=cache)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-20])
    with pytest.raises(DamagedFileError, match=name):
        OnnxEmbedder.load(folder)
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=f"{name} is missing"):
        OnnxEmbedder.load(folder)
    assert prepare_model(str(tiny_bert.folder), cache=cache) == folder
    assert (folder / name).read_bytes() == whole
    assert "Making the model again" in caplog.text


def test_a_manifest_edited_by_hand_is_refused(tiny_bert: TinyBert, cache: Path) -> None:
    folder = prepare_model(str(tiny_bert.folder), cache=cache)
    path = folder / "manifest.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"max_tokens": 16', '"max_tokens": 20'), encoding="utf-8")
    with pytest.raises(DamagedFileError, match="its content makes it"):
        Manifest.read(folder)


def test_an_int8_model_that_loses_too_much_is_refused(
    tiny_bert: TinyBert, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(export.LEAST_COSINES, "int8", 0.999_999)
    with pytest.raises(UnfaithfulModelError, match=r"tiny-bert .* prepare it with .*'fp32'"):
        prepare_model(str(tiny_bert.folder), cache=cache)
    assert list((cache / "models").iterdir()) == []


def test_processes_may_prepare_the_same_model_at_once(tiny_bert: TinyBert, cache: Path) -> None:
    script = (
        "import sys; from models.embedding.making.prepare import prepare_model\n"
        "print(prepare_model(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(tiny_bert.folder)]
    environment = {**os.environ, "SEGMENTER_CACHE": str(cache)}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    folders = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    [folder] = (cache / "models").iterdir()
    assert folders == {str(folder)}
    Manifest.read(folder)


def test_progress_is_logged(
    tiny_bert: TinyBert, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = prepare_model(str(tiny_bert.folder), cache=cache)
    assert "Making the int8 model of tiny-bert" in caplog.text
    assert "Cosine of int8 to fp32: mean " in caplog.text
    assert f"Model tiny-bert is ready in {folder}" in caplog.text


def test_an_exported_model_is_used_as_it_is(
    tiny_bert: TinyBert, cache: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "exported"
    export_model(str(tiny_bert.folder), exported, precision="fp32")
    assert prepare_model(str(exported), cache=cache) == exported
    assert prepare_model(str(exported), "fp32", cache=cache) == exported
    assert not cache.exists()


def test_an_exported_model_of_another_precision_than_asked_for_is_refused(
    tiny_bert: TinyBert, cache: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "exported"
    export_model(str(tiny_bert.folder), exported, precision="fp32")
    with pytest.raises(PrecisionMismatchError, match=r"'int8' was asked for.* is in 'fp32'"):
        prepare_model(str(exported), "int8", cache=cache)


def test_an_exported_model_that_is_damaged_is_refused_and_left_alone(
    tiny_bert: TinyBert, cache: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "exported"
    export_model(str(tiny_bert.folder), exported, precision="fp32")
    (exported / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(DamagedFileError, match=r"model\.onnx has SHA-256"):
        prepare_model(str(exported), cache=cache)
    assert (exported / "model.onnx").read_bytes() == b"damaged"
