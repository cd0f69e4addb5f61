import json
import logging
import shutil
from pathlib import Path

import pytest

from models.embedding.errors import (
    DamagedFileError,
    ExportFailedError,
    MissingFileError,
    OutputExistsError,
    UnsupportedModelError,
)
from models.embedding.inventory import CachedModel, list_models
from models.embedding.making import export
from models.embedding.making.export import export_model
from models.embedding.making.prepare import prepare_model
from models.embedding.making.verification import Check, ModelReport, verify_model
from models.embedding.manifest import Manifest, Precision
from models.embedding.model_files import optimum_digests
from tests.models.embedding.tiny_bert import TinyBert, write_safetensors


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def exported(tiny_bert: TinyBert, tmp_path: Path) -> Path:
    """The tiny model in fp32."""
    export_model(str(tiny_bert.folder), tmp_path / "exported", precision="fp32")
    return tmp_path / "exported"


# --- export ---------------------------------------------------------------------------------------


def test_exporting_twice_gives_the_same_bytes_and_identity(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    for precision in ("fp32", "int8"):
        manifests = [
            export_model(
                str(tiny_bert.folder), tmp_path / f"{precision}-{number}", precision=precision
            )
            for number in (1, 2)
        ]
        assert manifests[0].identity == manifests[1].identity
        first, second = (everything(tmp_path / f"{precision}-{number}") for number in (1, 2))
        assert first == second
        assert set(first) == {"model.onnx", "tokenizer.json", "manifest.json"}


def in_a_folder_of_its_own(model: TinyBert, folder: Path) -> Path:
    """Lay a checkpoint out as sentence-transformers of before 2.0 did."""
    shutil.copytree(model.folder, folder)
    encoder = folder / "0_Transformer"
    encoder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"):
        (folder / name).rename(encoder / name)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}", "type": f"sentence_transformers.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_encoder_in_a_folder_of_its_own_gives_the_same_model(
    precision: Precision, tiny_bert: TinyBert, tmp_path: Path
) -> None:
    nested = in_a_folder_of_its_own(tiny_bert, tmp_path / "old" / tiny_bert.folder.name)
    plain = export_model(str(tiny_bert.folder), tmp_path / "plain", precision=precision)
    found = export_model(str(nested), tmp_path / "nested", precision=precision)
    assert (found.files, found.identity) == (plain.files, plain.identity)
    assert set(found.provenance.source_files) == {
        "0_Transformer/config.json",
        "0_Transformer/model.safetensors",
        "0_Transformer/sentence_bert_config.json",
        "0_Transformer/tokenizer.json",
        "1_Pooling/config.json",
        "modules.json",
    }
    assert set(optimum_digests(nested)) >= {"0_Transformer/config.json", "modules.json"}


def test_a_folder_outside_of_the_checkpoint_is_refused(tiny_bert: TinyBert, tmp_path: Path) -> None:
    modules = [{"type": "sentence_transformers.models.Transformer", "path": "../elsewhere"}]
    (tiny_bert.folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"names the folder '\.\./elsewhere'"):
        export_model(str(tiny_bert.folder), tmp_path / "out")


def test_the_languages_of_the_model_card_go_with_the_model(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    (tiny_bert.folder / "README.md").write_text("---\nlanguage: [de, fr]\n---\n# A model")
    export_model(str(tiny_bert.folder), tmp_path / "out", precision="fp32")
    assert Manifest.read(tmp_path / "out").reads == ("de", "fr")


def test_the_export_is_the_model_of_the_cache(tiny_bert: TinyBert, tmp_path: Path) -> None:
    export_model(str(tiny_bert.folder), tmp_path / "out")
    cached = prepare_model(str(tiny_bert.folder), cache=tmp_path / "cache")
    assert everything(tmp_path / "out") == everything(cached)


def test_an_output_with_something_in_it_is_left_alone(tiny_bert: TinyBert, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError, match="out is there already and not empty; name a new"):
        export_model(str(tiny_bert.folder), output)
    assert everything(output) == {"notes.txt": b"mine"}
    with pytest.raises(OutputExistsError, match=r"notes\.txt is no folder"):
        export_model(str(tiny_bert.folder), output / "notes.txt")


def test_an_empty_output_and_one_with_missing_parents_are_filled(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "empty", tmp_path / "a" / "b"):
        export_model(str(tiny_bert.folder), output, precision="fp32")
        Manifest.read(output)


def test_an_output_that_another_process_fills_meanwhile_is_left_alone(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    def meanwhile(folder: Path) -> ModelReport:
        output.mkdir()
        (output / "manifest.json").write_text("theirs", encoding="utf-8")
        return ModelReport(())

    monkeypatch.setattr(export, "verify_model", meanwhile)
    with pytest.raises(OutputExistsError, match="filled by another process meanwhile"):
        export_model(str(tiny_bert.folder), output, precision="fp32")
    assert everything(output) == {"manifest.json": b"theirs"}


def test_an_export_that_fails_leaves_nothing(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = ModelReport((Check("vectors", False, "a vector is wrong"),))
    monkeypatch.setattr(export, "verify_model", lambda _: report)
    with pytest.raises(ExportFailedError, match=r"came out wrong: a vector is wrong\."):
        export_model(str(tiny_bert.folder), tmp_path / "out" / "model", precision="fp32")
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_are_not_finite_are_found_out(tiny_bert: TinyBert, tmp_path: Path) -> None:
    tiny_bert.tensors["embeddings.LayerNorm.bias"][0] = float("nan")
    tiny_bert.write_weights()
    with pytest.raises(ExportFailedError, match="no finite vector for a text"):
        export_model(str(tiny_bert.folder), tmp_path / "out", precision="fp32")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors.index.json"])
def test_weights_that_only_torch_can_read_are_named(
    name: str, tiny_bert: TinyBert, tmp_path: Path
) -> None:
    (tiny_bert.folder / "model.safetensors").rename(tiny_bert.folder / name)
    with pytest.raises(MissingFileError, match=f"{name} cannot be read without torch.*optimum"):
        export_model(str(tiny_bert.folder), tmp_path / "out")


def test_an_architecture_of_others_is_left_to_optimum(tiny_bert: TinyBert, tmp_path: Path) -> None:
    tiny_bert.write_config(model_type="distilbert")
    with pytest.raises(UnsupportedModelError, match=r"'distilbert'.*`--exporter optimum`"):
        export_model(str(tiny_bert.folder), tmp_path / "out")


def test_an_exported_model_is_not_exported_again(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="is an exported model already"):
        export_model(str(exported), tmp_path / "out")


def test_weights_with_a_head_give_the_bare_encoder(tiny_bert: TinyBert, tmp_path: Path) -> None:
    bare = export_model(str(tiny_bert.folder), tmp_path / "bare", precision="fp32")
    stored = {f"bert.{name}": tensor for name, tensor in tiny_bert.tensors.items()}
    stored["cls.predictions.bias"] = stored["bert.embeddings.LayerNorm.bias"]
    write_safetensors(
        tiny_bert.folder / "model.safetensors",
        {name: ("F32", list(t.shape), t.tobytes()) for name, t in stored.items()},
    )
    headed = export_model(str(tiny_bert.folder), tmp_path / "headed", precision="fp32")
    assert headed.identity == bare.identity
    assert headed.provenance != bare.provenance


def test_what_is_exported_is_logged(
    tiny_bert: TinyBert, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    export_model(str(tiny_bert.folder), tmp_path / "out")
    assert "Exporting tiny-bert in int8 with direct" in caplog.text


# --- verify ---------------------------------------------------------------------------------------


def test_a_whole_model_passes_every_check(exported: Path) -> None:
    report = verify_model(exported)
    assert report.passed
    assert [check.subject for check in report.checks] == ["manifest", "files", "graph", "vectors"]
    text = report.render()
    assert Manifest.read(exported).identity in text
    assert "Attention 2, BiasGelu 2, LayerNormalization 5" in text
    assert "of 6 texts: finite, of length one, 32 dimensions" in text
    assert "WRONG" not in text


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_one_flipped_bit_is_found(name: str, exported: Path) -> None:
    content = bytearray((exported / name).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / name).write_bytes(content)
    report = verify_model(exported)
    assert not report.passed
    assert [check.passed for check in report.checks] == [True, False]
    assert f"{name} has SHA-256" in report.render()


def test_a_file_that_is_missing_or_foreign_is_found(exported: Path) -> None:
    (exported / ".DS_Store").write_bytes(b"")
    assert verify_model(exported).passed
    (exported / "model.onnx.data").write_bytes(b"")
    [violation] = verify_model(exported).violations
    assert "model.onnx.data is not in the manifest; remove it" in violation
    (exported / "model.onnx.data").unlink()
    (exported / "tokenizer.json").unlink()
    [violation] = verify_model(exported).violations
    assert "tokenizer.json is missing" in violation


def forged(folder: Path, **changes: object) -> None:
    """Write a manifest that is whole in itself and wrong about the model."""
    manifest = Manifest.read(folder)
    manifest.model_copy(update=changes).write(folder)


def test_a_manifest_that_is_wrong_about_the_model_is_found(exported: Path) -> None:
    operators = Manifest.read(exported).operators
    forged(exported, operators={**operators, "Attention": 12})
    [violation] = verify_model(exported).violations
    assert "the graph has the fused operators" in violation
    forged(exported, operators=operators, dimensions=64)
    [violation] = verify_model(exported).violations
    assert "the graph makes {'embedding': 32} of input_ids" in violation
    assert "embedding of 64 dimensions must be made" in violation


def test_a_model_that_fails_on_a_text_is_found(tiny_bert: TinyBert, tmp_path: Path) -> None:
    """Its own limit is longer than its table of positions."""
    export_model(str(tiny_bert.folder), tmp_path / "out", precision="fp32")
    forged(tmp_path / "out", max_tokens=512)
    [violation] = verify_model(tmp_path / "out").violations
    assert "no finite vector for a text" in violation


def test_a_folder_that_holds_no_model_is_told_as_such(tmp_path: Path) -> None:
    [violation] = verify_model(tmp_path).violations
    assert "manifest.json is missing" in violation


# --- list -----------------------------------------------------------------------------------------


def test_an_empty_cache_holds_no_models(tmp_path: Path) -> None:
    assert list_models(tmp_path) == []
    (tmp_path / "models").mkdir()
    assert list_models(tmp_path) == []


def test_the_models_of_a_cache_are_listed(tiny_bert: TinyBert, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    exact = prepare_model(str(tiny_bert.folder), "fp32", cache)
    quantised = prepare_model(str(tiny_bert.folder), "int8", cache)
    (cache / "models" / ".being-made").mkdir()
    first, second = list_models(cache)
    assert (first.folder, second.folder) == (exact, quantised)
    assert first.manifest == Manifest.read(exact)
    assert first.size == sum(len(content) for content in everything(exact).values())


def test_a_model_that_cannot_be_read_is_listed_with_the_reason(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    folder = prepare_model(str(tiny_bert.folder), "fp32", tmp_path)
    shutil.copytree(folder, folder.parent / "another")
    (folder.parent / "another" / "manifest.json").write_text("{", encoding="utf-8")
    [broken, whole] = list_models(tmp_path)
    assert (broken.manifest, whole.problem) == (None, None)
    assert isinstance(broken, CachedModel)
    assert broken.problem is not None
    assert "is not a manifest" in broken.problem


def test_a_damaged_exported_model_is_not_run(exported: Path) -> None:
    (exported / "model.onnx").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"model\.onnx has SHA-256"):
        prepare_model(str(exported))
