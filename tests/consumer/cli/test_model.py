"""`segmenter model ...`: what is printed, and the exit codes."""

from __future__ import annotations

import json
import os

import pytest

from consumer.cli import main as cli
from consumer.cli import model as command
from consumer.settings import Settings
from consumer.wiring.embedder import load_embedder
from models.embedding.errors import EmbeddingError, ExportFailedError, ModelNotMadeError
from models.embedding.making import optimum_export
from models.embedding.making.export import export_model
from models.embedding.making.fit_words import TextSample
from models.embedding.manifest import Manifest
from models.text import detect_language
from tests.consumer.stages.stage_data import event
from tests.models.embedding.tiny_bert import TinyBert


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEGMENTER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(capsys):
    """Run a command under `segmenter model`; give exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        return cli.main(["model", *map(str, arguments)]), *capsys.readouterr()

    return run


@pytest.fixture
def checkpoint(tmp_path):
    return TinyBert.write(tmp_path / "tiny-bert").folder


def test_export_prints_the_folder_and_the_identity(model, checkpoint, tmp_path):
    output = tmp_path / "out"
    code, out, err = model(
        "export", checkpoint, "--output", output, "--precision", "fp32", "--prefix", "query: "
    )
    manifest = Manifest.read(output)
    assert (code, out, err) == (0, f"{output}\n{manifest.identity}\n", "")
    assert (manifest.precision, manifest.prefix) == ("fp32", "query: ")


def test_export_makes_int8_when_it_is_told_no_precision(model, checkpoint, tmp_path):
    assert model("export", checkpoint, "--output", tmp_path / "out")[0] == 0
    assert Manifest.read(tmp_path / "out").precision == "int8"


def test_an_output_that_is_there_is_wrong_usage(model, checkpoint, tmp_path):
    code, out, err = model("export", checkpoint, "--output", checkpoint)
    assert (code, out) == (2, "")
    assert "is there already and not empty" in err


def test_int8_with_optimum_is_wrong_usage(model, checkpoint, tmp_path):
    code, _, err = model(
        *("export", checkpoint, "--output", tmp_path / "out"),
        *("--exporter", "optimum", "--precision", "int8"),
    )
    assert code == 2
    assert "choose fp32 or fp16" in err


def test_an_export_that_cannot_be_made_ends_with_3(model, checkpoint, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise ExportFailedError("no graph came out")

    monkeypatch.setattr(command, "need", lambda *_: None)
    monkeypatch.setattr(optimum_export, "run_optimum", refuse)
    code, out, err = model(
        "export", checkpoint, "--output", tmp_path / "out", "--exporter", "optimum"
    )
    assert (code, out, err) == (3, "", "segmenter: no graph came out\n")


def test_verify_ends_with_0_for_a_whole_model_and_1_for_a_damaged_one(model, checkpoint, tmp_path):
    output = tmp_path / "out"
    export_model(str(checkpoint), output, precision="fp32")
    code, out, err = model("verify", output)
    assert (code, err) == (0, "")
    assert [line.split()[1] for line in out.splitlines()] == ["ok"] * 4
    with (output / "model.onnx").open("ab") as file:
        file.write(b"\n")
    code, out, _ = model("verify", output)
    assert code == 1
    assert "files      WRONG" in out


def test_verify_of_no_folder_is_wrong_usage(model, tmp_path):
    code, _, err = model("verify", tmp_path / "missing")
    assert code == 2
    assert "does not exist" in err


@pytest.mark.parametrize("command", [("prepare", ""), ("export", "", "--output", "made")])
def test_an_empty_name_is_not_the_folder_that_the_process_is_in(model, command):
    code, _, err = model(*command)
    assert (code, "the name is empty" in err) == (2, True)


def test_list_shows_what_prepare_has_made(model, checkpoint, tmp_path):
    assert model("list")[:2] == (
        0,
        "no models in the cache; `segmenter model prepare` makes one\n",
    )
    assert model("list", "--json")[:2] == (0, "[]\n")
    code, out, _ = model("prepare", checkpoint)
    assert model("prepare", "--embedding.model", checkpoint)[:2] == (code, out)
    folder = out.strip()
    identity = Manifest.read(tmp_path / folder).identity
    code, out, _ = model("list")
    assert code == 0
    heading, line = out.splitlines()
    assert heading.split()[:3] == ["identity", "name", "precision"]
    assert line.split()[:5] == [identity[:12], "tiny-bert", "int8", "32", "16"]
    assert line.split()[-1] == folder
    [entry] = json.loads(model("list", "--json")[1])
    assert (entry["identity"], entry["folder"]) == (identity, folder)
    assert (entry["pooling"], entry["prefix"], entry["exporter"]) == ("mean", "", "direct")


def test_list_shows_what_it_cannot_read(model, tmp_path):
    (tmp_path / "cache" / "models" / "old").mkdir(parents=True)
    assert "unreadable" in model("list")[1]
    [entry] = json.loads(model("list", "--json")[1])
    assert "manifest.json is missing" in entry["problem"]


def test_an_exported_models_own_precision_counts_unless_one_is_set(checkpoint, tmp_path):
    output = tmp_path / "out"
    export_model(str(checkpoint), output, precision="fp32")
    embedder = load_embedder(Settings(embedding={"model": str(output), "device": "cpu"}))
    assert embedder.identity == Manifest.read(output).identity
    embedder.close()


def test_a_precision_that_is_set_must_be_the_exported_models(model, checkpoint, tmp_path):
    output = tmp_path / "out"
    export_model(str(checkpoint), output, precision="fp32")
    named = ("--embedding.model", output, "--embedding.precision")
    assert model("prepare", *named, "fp32")[:2] == (0, f"{output}\n")
    code, _, err = model("prepare", *named, "int8")
    assert code == 3
    assert "leave the precision out, or export the model again" in err


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.jsonl"
    subjects = ["espresso grinder beans crema", "跑鞋 马拉松 配速 越野"]
    lines = [
        json.dumps(event(f"user-{number}", 1, f"{subjects[number % 2]} {number}"))
        for number in range(200)
    ]
    path.write_text("\n".join([*lines, "{"]))
    return path


def test_words_are_fitted_into_the_folder_of_the_settings_and_loaded_from_there(
    model, history, tmp_path
):
    folder = tmp_path / "words"
    flags = ("--embedding.words.folder", folder)
    code, out, err = model("fit", "words", "--input", history, "--dimensions", 4, *flags)
    lines = out.splitlines()
    assert (code, err.splitlines()[:1]) == (0, ["Refused:"])
    assert "1 invalid_json, first on line 201" in err
    assert lines[0] == str(folder)
    assert lines[2].startswith("200 texts, 8 words, 4 dimensions that keep ")
    settings = Settings(embedding={"model": "words", "words": {"folder": folder}})
    with load_embedder(settings) as embedder:
        assert (embedder.identity, embedder.dimensions) == (lines[1], 4)
    assert model("verify", folder)[0] == 0
    assert model("prepare", "--embedding.model", "words", *flags)[:2] == (0, f"{folder}\n")
    code, _, err = model("fit", "words", "--input", history, *flags)
    assert (code, "is there already and not empty" in err) == (2, True)


@pytest.mark.parametrize("parent", ["/proc/self", "history.jsonl"])
def test_a_folder_that_cannot_be_made_is_told_before_anything_is_read(
    model, history, monkeypatch, parent
):
    def read(*_: object) -> None:
        raise AssertionError("the history was read")

    monkeypatch.setattr(TextSample, "add", read)
    folder = history.parent / parent / "words"
    code, out, err = model("fit", "words", "--input", history, "--embedding.words.folder", folder)
    assert (code, out) == (3, "")
    assert f"segmenter: cannot use {folder.parent}: " in err


@pytest.mark.parametrize("source", ["words", "both", "fitted"])
def test_what_is_fitted_is_not_exported(model, history, tmp_path, source):
    if source == "fitted":
        source = tmp_path / "words"
        fit = ("fit", "words", "--input", history, "--dimensions", 4)
        assert model(*fit, "--embedding.words.folder", source)[0] == 0
    code, out, err = model("export", source, "--output", tmp_path / "out")
    assert (code, out, "`segmenter model fit words`" in err) == (3, "", True)


def test_fewer_texts_than_words_need_are_not_asked_for(model, history):
    code, _, err = model("fit", "words", "--input", history, "--texts", 99)
    assert (code, "'--texts': 99 is not in the range x>=100" in err) == (2, True)


@pytest.mark.parametrize("given", [(), ("--topic", "--input", "history.jsonl")])
def test_words_are_fitted_on_a_file_or_on_the_topic(model, history, monkeypatch, given):
    monkeypatch.chdir(history.parent)
    code, _, err = model("fit", "words", *given)
    assert (code, "give --input FILE or --topic, one of them" in err) == (2, True)


def test_words_that_are_not_fitted_name_the_command_that_does_it(tmp_path):
    with pytest.raises(ModelNotMadeError, match="`segmenter model fit words`"):
        load_embedder(Settings(embedding={"model": "words"}))


@pytest.mark.parametrize(
    ("given", "told"),
    [({"precision": "int8"}, "which is in fp32"), ({"device": "cuda"}, "which runs on the CPU")],
)
def test_words_refuse_what_is_for_other_models(model, history, tmp_path, given, told):
    folder = tmp_path / "words"
    fit = ("fit", "words", "--input", history, "--dimensions", 4)
    assert model(*fit, "--embedding.words.folder", folder)[0] == 0
    with pytest.raises(EmbeddingError, match=told):
        load_embedder(Settings(embedding={"model": str(folder), **given}))


def a_file(path, texts):
    lines = [json.dumps(event(f"u{n}", 1, text, language=None)) for n, text in enumerate(texts)]
    path.write_text("\n".join(lines))
    return path


def in_language(language, count=120):
    said = {
        "en": "I would not buy this grinder again, number {} broke after they had shipped it.",
        "zh-Hans": "第{}次买这双跑鞋,穿着很轻,缓震也不错,长距离跑完脚不疼。",
        "zh-Hant": "第{}次買這雙跑鞋,穿著很輕,緩震也不錯,長距離跑完腳不疼。",
        "nl": "Ik heb deze koffiemolen nummer {} vorige week gekocht en ben er heel tevreden over.",
        "ru": "Кофемолка номер {} работает тихо, я доволен покупкой и советую её всем друзьям.",
    }
    return [said[language].format(number) for number in range(count)]


@pytest.mark.parametrize(
    ("languages", "advised", "default", "said"),
    [
        ({"en": 120}, "default", 1.0, "in English"),
        ({"en": 110, "zh-Hans": 4}, "default", 0.9649, "in English"),
        ({"zh-Hans": 60, "zh-Hant": 60}, "multilingual", 0.0, "segmenter model fit words"),
        ({"en": 60, "ru": 60}, "multilingual", 0.5, "whatever their language"),
        ({"zh-Hant": 20}, "multilingual", 0.0, "needs no history"),
    ],
)
def test_advise_tells_languages_and_the_model_that_reads_them(
    model, tmp_path, languages, advised, default, said
):
    texts = [text for code, count in languages.items() for text in in_language(code, count)]
    path = a_file(tmp_path / "events.jsonl", texts)
    code, out, err = model("advise", path, "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    expected = {code: round(count / len(texts), 4) for code, count in languages.items()}
    assert told["languages"] == expected
    assert (told["texts"], told["distinct"], told["model"]) == (len(texts), len(texts), advised)
    assert {each["model"]: each["reads"] for each in told["readers"]}["default"] == default
    assert said in told["reason"]
    code, out, _ = model("advise", path, "--texts", 5)
    assert f"{len(texts)} texts, 5 different ones of them looked at" in out


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ({"en": 120}, {"en", "und"}),
        # One text that is long enough, or many that are short, and the language is there.
        ({"en": 120, "nl": 1}, {"en", "nl", "und"}),
        ({"ru": 2}, {"ru", "nl", "pt", "it"}),
        ({"zh-Hant": 1, "en": 120}, {"zh-Hant", "en", "und"}),
    ],
)
def test_a_few_words_alone_make_no_language(model, tmp_path, beside, told):
    lists = ["peel, pot", "toe, bed", "bluetooth, jog", "scoring, tempo"]
    assert "en" not in map(detect_language, lists)
    texts = [text for code, count in beside.items() for text in in_language(code, count)]
    code, out, _ = model("advise", a_file(tmp_path / "events.jsonl", texts + lists), "--json")
    assert (code, set(json.loads(out)["languages"])) == (0, told)


def test_a_file_without_texts_ends_advise_and_fit_with_3(model, tmp_path):
    path = a_file(tmp_path / "events.jsonl", ["12", "!"])
    empty = a_file(tmp_path / "empty.jsonl", [])
    for asked in (("advise",), ("fit", "words", "--input")):
        code, out, err = model(*asked, path)
        assert (code, out) == (3, "")
        assert "none of the 2 records" in err
        code, _, err = model(*asked, empty)
        assert (code, "empty.jsonl holds no records" in err) == (3, True)


def test_advise_and_fit_tell_of_refused_records_and_why(model, tmp_path):
    path = a_file(tmp_path / "events.jsonl", in_language("en", 60) + in_language("zh-Hans", 60))
    with path.open("a", encoding="utf-8") as file:
        file.write('\n{"user_id": "u"}' * 3)
    folder, few = ("--embedding.words.folder", tmp_path / "words"), ("--dimensions", 4)
    for asked in (("advise", path, "--json"), ("fit", "words", "--input", path, *folder, *few)):
        code, _, err = model(*asked)
        assert (code, "3 missing_field (event_id), first on line 121" in err) == (0, True)
