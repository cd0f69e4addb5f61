"""What `replay` and `evaluate` say of a run: refusals, segments, what is missing, what to mind."""

from __future__ import annotations

import io
import json
import os
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from rich.console import Console

from consumer.cli import main as cli
from consumer.offline import outcome
from consumer.offline.refusals import Refusals, hint_for
from consumer.report.progress import counting, line
from consumer.settings import Settings
from consumer.wiring import embedder
from models.embedding.languages import card_languages, known_languages
from schemas.dead_letters import Refusal, RefusalReason
from schemas.intake import Intake, RefusedError
from schemas.mapping import PRESETS
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, event
from tests.consumer.stages.stage_data import records as as_records
from tests.schemas.intakes import an_intake
from tests.stubs import HashingEmbedder

AT = "2026-06-01T00:00:00Z"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    monkeypatch.setattr(embedder, "load_embedder", lambda _: EMBEDDER)


@pytest.fixture
def run(capsys, tmp_path):
    """Run a command over lines or bytes; give exit code, standard output and standard error."""

    def run(command: str, content: list[dict] | bytes, *more: str) -> tuple[int, str, str]:
        if isinstance(content, list):
            content = "\n".join(map(json.dumps, content)).encode()
        path = tmp_path / "events"
        path.write_bytes(content)
        arguments = [command, str(path), "--now", AT, *more]
        if command == "replay":
            arguments += ["--output", str(tmp_path / "out")]
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def users(count: int) -> list[dict]:
    return [event(f"u{n}", n, TOPICS[n % 2]) for n in range(count)]


def without(name: str, count: int) -> list[dict]:
    return [{key: value for key, value in each.items() if key != name} for each in users(count)]


def in_one_line(text: str) -> str:
    return " ".join(text.split())


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["replay", "evaluate"])
def test_where_nothing_is_accepted_the_reason_is_told_and_the_exit_code_is_3(run, command):
    code, out, err = run(command, without("type", 7))
    assert code == 3
    said = in_one_line(out if command == "replay" else err)
    assert "7 missing_field (type), first on line 1: field type is missing" in said
    assert "the record has the fields event_id, user_id, text, language, occurred_at" in said
    assert 'in events.mapping.constants what it always is, as in type = "review"' in said
    assert "none of the 7 records of" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["replay", "evaluate"])
def test_a_file_without_records_is_told_as_one(run, command):
    code, _, err = run(command, b"")
    assert code == 3
    assert "holds no records" in err


def test_reasons_are_counted_each_with_its_first_line_the_commonest_first(run):
    lines = [*users(8), {"user_id": "x"}, *without("text", 2), *without("user_id", 3)]
    lines = [{**each, "event_id": f"e{n}"} for n, each in enumerate(lines)]
    code, out, _ = run("replay", lines, "--segments", "2")
    assert code == 0
    told = out[out.index("Refused:") :].splitlines()
    assert told[1].startswith("  3 missing_field (user_id), first on line 12: field user_id")
    assert told[2].startswith("  2 no_text (text), first on line 10: ")
    assert told[3].startswith("  1 missing_field (type), first on line 9: ")
    assert max(map(len, out.splitlines())) <= 80 or str(out).count("/") > 0


def test_many_reasons_are_summed_up():
    refusals = Refusals()
    (record,) = as_records([{"user_id": "u"}])
    for reason in RefusalReason:
        refusals.add(record, Refusal(reason=reason, detail="so it is"))
    told = outcome.refused(refusals, None, Settings())
    assert len(told) <= 8
    assert told[6] == f"  {len(RefusalReason) - 5} for {len(RefusalReason) - 5} other reasons"


def test_a_replay_that_is_stopped_by_its_refusals_tells_them_too(run):
    code, out, err = run("replay", without("type", 300))
    assert code == 3
    assert "missing_field (type), first on line 1: field type is missing" in out
    assert "dead_letters.max_share" in err


def test_the_log_of_a_replay_does_not_tell_of_dead_letters_on_a_topic(run, caplog):
    run("replay", without("type", 3))
    assert "user-events.dlq" not in caplog.text


def test_summary_json_has_the_reasons_and_the_sizes(run, tmp_path):
    run("replay", [*users(8), *without("type", 1)], "--segments", "2")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["refused_for"] == [
        {
            "reason": "missing_field",
            "field": "type",
            "count": 1,
            "topic": "user-events",
            "record": 8,
            "detail": "field type is missing",
        }
    ]
    assert sorted(each["users"] for each in summary["sizes"]) == [4, 4]


AMAZON = {
    "user_id": "A1",
    "asin": "B0",
    "parent_asin": "B0",
    "title": "Good",
    "text": "Fits well",
    "rating": 5.0,
    "timestamp": 1588687728923,
}


def test_a_known_format_is_named_with_its_preset(run):
    code, out, _ = run("replay", [AMAZON])
    assert code == 3
    assert "the records can be read with --events.preset amazon-reviews" in in_one_line(out)


def refusal_of(value: dict | bytes, intake: Intake) -> tuple[Refusal, bytes]:
    written = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(RefusedError) as raised:
        intake.read(written, intake.key_of(written), NOW)
    return raised.value.refusal, written


def test_a_hint_never_quotes_what_people_wrote():
    private = {"user_id": "u", "body": "my secret", "my secret is a name of a field too": 1}
    private["x" * 200] = 2
    refusal, value = refusal_of(private, an_intake())
    hint = hint_for(refusal, value, an_intake())
    assert "my secret" not in (hint or "").replace("my secret is a name of a field too", "")
    assert "xxx" not in hint


def test_a_record_of_nobody_gets_no_hint_for_its_format_is_the_right_one():
    intake = an_intake(mapping=PRESETS["auto"])
    comment = {"id": "c", "author": "[deleted]", "body": "Fine", "created_utc": 1531001351}
    refusal, value = refusal_of({**comment, "subreddit": "s", "link_id": "t3_a"}, intake)
    assert "of no user: 'author' is '[deleted]'" in refusal.detail
    assert hint_for(refusal, value, intake) is None
    # Read in another format, it tells which it is of all the same.
    refusal, value = refusal_of({**comment, "subreddit": "s", "link_id": "t3_a"}, an_intake())
    assert "--events.preset reddit" in (hint_for(refusal, value, an_intake()) or "")


@pytest.mark.parametrize(
    ("fields", "setting"),
    [
        ({"text": "word " * 30_000}, "events.max_text_chars"),
        ({"occurred_at": "1980-01-01T00:00:00Z"}, "events.earliest"),
        ({"occurred_at": "2080-01-01T00:00:00Z"}, "events.max_future_skew_seconds"),
    ],
)
def test_a_bound_that_refuses_is_named_with_its_setting(fields, setting):
    refusal, value = refusal_of(event("u", 1, **{"text": TOPICS[0], **fields}), an_intake())
    assert setting in (hint_for(refusal, value, an_intake()) or "")


def test_no_other_format_is_named_where_the_record_was_read_and_has_no_words() -> None:
    value = json.dumps(event("u1", 1, "***")).encode()
    refusal = Refusal(reason=RefusalReason.NO_TEXT, field="text", detail="none")
    hint = hint_for(refusal, value, an_intake())
    assert hint is not None
    assert "preset" not in hint
    assert "events.mapping.fields.text" in hint


def test_a_row_with_another_number_of_cells_is_told_as_one(run):
    rows = b"event_id,user_id,type,occurred_at,text\n1,u,review,2026-01-01T00:00:00Z\n"
    _, out, _ = run("replay", rows)
    assert "invalid_json, first on line 2: must be a JSON object, is an array" in in_one_line(out)
    assert "as many cells as its header" in in_one_line(out)


@pytest.mark.parametrize(
    ("value", "called"),
    [(b"[]", "an array"), (b"3", "a number"), (b'"x"', "a string"), (b"null", "null"),
     (b"true", "true or false")],
)  # fmt: skip
def test_what_is_no_object_is_called_by_json_and_not_by_python(value, called):
    refusal, _ = refusal_of(value, an_intake())
    assert refusal.detail == f"must be a JSON object, is {called}"


@pytest.mark.parametrize(
    ("given", "quoted"),
    [(None, "null"), (True, "true"), ({"a": None}, '{"a": null}'), ("x", "'x'")],
)
def test_what_is_wrong_is_quoted_as_it_stands_in_json(given, quoted):
    refusal, _ = refusal_of(event("u", 1, occurred_at=given), an_intake())
    assert f"(is {quoted})" in refusal.detail


# --- segments -----------------------------------------------------------------------------------


def test_too_few_users_say_how_many_are_needed(run):
    code, out, _ = run("replay", users(3), "--segments", "4")
    assert code == 0
    said = "No segments: training.segments = 4 needs 8 users at least, and there are 3."
    assert said in in_one_line(out)
    code, out, _ = run("evaluate", users(3), "--segments", "4")
    assert code == 0
    assert "too few users for a segment model: 8 are needed, there are 3" in out


def test_segments_are_told_with_their_users_the_largest_first(run):
    lines = users(8) + [event(f"v{n}", n, TOPICS[0]) for n in range(5)]
    _, out, _ = run("replay", lines, "--segments", "2")
    assert "  id  users  segment\n" in out
    table = out[out.index("  id") :].splitlines()[1:3]
    assert [int(row.split()[1]) for row in table] == [9, 4]
    assert "hops" in table[0]


def test_users_in_no_segment_are_told_too(run):
    _, out, _ = run("replay", users(8), "--segments", "2", "--assignment.min-events", "3")
    assert "   -      8  no segment" in out


# --- languages ----------------------------------------------------------------------------------


def reading(languages: tuple[str, ...] | None) -> HashingEmbedder:
    embedder = HashingEmbedder()
    embedder.manifest = SimpleNamespace(name="small", reads=languages)
    return embedder


@pytest.mark.parametrize(
    ("texts", "reads", "warned"),
    [
        ({"zh": 60, "en": 40}, ("en",), True),
        ({"zh": 40, "en": 60}, ("en",), False),
        ({"zh": 60, "en": 40}, ("en", "zh"), False),
        ({"zh": 60, "en": 40}, None, False),
        ({"und": 90, "en": 40}, ("en",), False),
        ({"zh": 6, "en": 4}, ("en",), False),
    ],
)
def test_a_model_that_does_not_read_most_of_the_texts_is_warned_of(texts, reads, warned):
    said = outcome.unread_language(Counter(texts), reading(reads))
    assert (said is not None) == warned
    if said:
        assert (
            "60% of the texts are in languages that small does not read, most of them in zh" in said
        )
        assert "--embedding.model" in said


def test_a_replay_warns_of_the_language(run, monkeypatch):
    monkeypatch.setattr(
        type(EMBEDDER), "manifest", SimpleNamespace(name="small", reads=("en",)), raising=False
    )
    lines = [{**each, "language": "de"} for each in users(30)]
    for command, place in (("replay", 1), ("evaluate", 2)):
        told = run(command, lines, "--segments", "2")
        assert told[0] == 0
        assert "100% of the texts are in languages that small does not read" in in_one_line(
            told[place]
        )


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("all-MiniLM-L6-v2", ("en",)),
        ("sentence-transformers/all-mpnet-base-v2@main", ("en",)),
        ("paraphrase-multilingual-MiniLM-L12-v2", None),
        ("BAAI/bge-small-en-v1.5", ("en",)),
        ("bge-m3", None),
        ("intfloat/e5-small-v2", ("en",)),
        ("multilingual-e5-small", None),
        ("thenlper/gte-base", ("en",)),
        ("my-own", None),
    ],
)
def test_models_that_read_english_are_known_by_name(name, known):
    assert known_languages(name) == known


@pytest.mark.parametrize(
    ("card", "languages"),
    [
        ("---\nlanguage: en\nlicense: x\n---\n# A", ("en",)),
        ("---\nlicense: x\nlanguage:\n- de\n  - en\n---\n", ("de", "en")),
        ("---\nlanguage: [fr, 'it']\n---\n", ("fr", "it")),
        ("---\nlanguage:\n- multilingual\n- af\n---\n", None),
        ("---\nlicense: x\n---\nlanguage: en", None),
        ("# no front", None),
        (None, None),
    ],
)
def test_the_languages_stand_in_the_model_card(tmp_path, card, languages):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert card_languages(tmp_path) == languages


# --- progress -----------------------------------------------------------------------------------


def test_progress_tells_the_time_to_go_where_the_end_is_known():
    assert line("replaying", "records", 1_000, 11_000, 2.0) == (
        "replaying: 1,000 of about 11,000 records, 500 a second, 0:00:20 to go"
    )
    assert line("replaying", "records", 1_000, None, 2.0) == (
        "replaying: 1,000 records, 500 a second"
    )
    assert line("replaying", "records", 0, 10, 2.0).endswith("0 a second")


def test_on_a_terminal_progress_shows_the_end_and_the_time_to_go():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    with counting(console, "replaying", "records", lambda: 40) as show:
        show(10)
    assert "10/40" in shown.getvalue()
    assert "to go" in shown.getvalue()


# --- pipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["replay", "evaluate"])
def test_commands_read_a_pipe(capsys, tmp_path, command):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = "\n".join(map(json.dumps, users(30)))
    writer = threading.Thread(target=pipe.write_text, args=(content,))
    writer.start()
    more = ["--output", str(tmp_path / "out"), "--segments", "2", "--now", AT]
    code = cli.main([command, str(pipe), *more])
    writer.join()
    assert code == 0
    assert "30 accepted" in capsys.readouterr().out


def test_a_pipe_is_called_by_its_own_name_though_a_copy_is_read(tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"%PDF-1.7\n",))
    writer.start()
    assert cli.main(["evaluate", str(pipe), "--now", AT]) == 3
    writer.join()
    assert f"cannot read the events of {pipe}: it is a PDF" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("command", ["replay", "evaluate"])
def test_commands_read_the_standard_input(capsys, tmp_path, command, name):
    source = tmp_path / "source"
    source.write_text("\n".join(map(json.dumps, users(30))))
    kept = os.dup(0)
    given = os.open(source, os.O_RDONLY)
    os.dup2(given, 0)
    try:
        label = ["--label", "user_id"] if command == "evaluate" else []
        more = ["--output", str(tmp_path / "out"), "--segments", "2", "--now", AT, *label]
        assert cli.main([command, name, *more]) == 0
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(given)
    assert "30 accepted" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["replay", "evaluate", "demo --input", "worker --model"])
def test_a_folder_is_wrong_usage_and_told_as_one(capsys, tmp_path, command):
    assert cli.main([*command.split(), str(tmp_path)]) == 2
    assert f"File '{tmp_path}' is a directory" in capsys.readouterr().err


def test_what_is_no_event_file_ends_with_3_and_leaves_no_dead_letters(run, tmp_path):
    code, out, err = run("replay", b"%PDF-1.7\n...")
    assert (code, out) == (3, "")
    assert "it is a PDF: convert it to JSON lines, CSV or Parquet" in err
    assert (tmp_path / "out" / "dead-letters.jsonl").read_bytes() == b""
