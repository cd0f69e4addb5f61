"""Errors of settings name where they come from and what was meant; names nearly right are told."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
from types import NoneType
from typing import get_args

import pytest

from consumer.cli import main as cli
from consumer.settings import Settings
from consumer.settings.format import FORMATS, to_env, to_toml
from consumer.settings.sources import environment_hints, fields, flag, setting_names, variable
from schemas.base import kinds


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEGMENTER_CONFIG", "")


@pytest.fixture
def error(capsys):
    """Run `segmenter config`, which must refuse; give what it says."""

    def run(*arguments: object) -> str:
        assert cli.main(["config", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert (out, err[:11], err.count("\n")) == ("", "segmenter: ", 1)
        return err

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "segmenter.toml"

    def write(text: str) -> str:
        path.write_text(text)
        return str(path)

    return write


# --- what stands for nothing, and what for a number -----------------------------------------------

OPTIONAL = [name for name, field in fields(Settings) if NoneType in get_args(field.annotation)]
NUMBERS = [name for name, field in fields(Settings) if {int, float} & kinds(field.annotation)]


def test_there_are_settings_that_may_be_left_out_and_numbers():
    assert {"profile.inactive_half_lives", "http.port", "kafka.instance_id"} < set(OPTIONAL)
    assert {"batch.max_records", "training.segments", "events.weights"} < set(NUMBERS)


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("where", ["flag", "variable", "file"])
def test_what_may_be_left_out_is_set_to_none_by_that_word(name, where, file, monkeypatch, capsys):
    arguments = []
    if where == "variable":
        monkeypatch.setenv(variable(name), "None")
    elif where == "file":
        section, _, own = name.rpartition(".")
        arguments = ["--config", file(f"[{section}]\n{own} = 'none'")]
    else:
        arguments = [flag(name), "none"]
    assert cli.main(["config", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    for part in name.split("."):
        shown = shown[part]
    assert shown is None


# Numbers that have names, which are told of first where there is none.
BY_NAME = {
    *("events.weights", "embedding.both.language_weights"),
    "recommendations.type_weights",
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_truth_value_is_no_number(name, error, file):
    section, _, own = name.partition(".")
    value = "{view = true}" if name == "events.weights" else "true"
    said = error("--config", path := file(f"[{section}]\n{own} = {value}"))
    assert f"setting {name}: " in said
    assert "give a number" in said
    assert "true" in said
    assert f"from {path}, line 2)" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((each, "\u0661\u0662") for each in NUMBERS if each not in BY_NAME),
        ("training.segments", "\uff15"),
        ("restore.no_progress_seconds", "inf"),
        ("restore.no_progress_seconds", "nan"),
        ("topics.retention_hours", "inf"),
    ],
)
def test_a_number_is_finite_and_in_digits_that_everybody_reads(name, value, error):
    assert f"setting {name}: " in (said := error(f"{flag(name)}={value}"))
    assert f"'{value}'" in said


@pytest.mark.parametrize("value", ["a/b", "", ".", "..", "x" * 250, "caf\u00e9", "two words"])
@pytest.mark.parametrize("name", ["events", "raw_events"])
def test_a_name_that_kafka_gives_no_topic_is_refused_by_its_setting(name, value, error):
    said = error(f"--topics.{name.replace('_', '-')}", value)
    assert f"setting topics.{name}: Kafka takes no such name: give 1 to 249 of A-Z" in said
    assert len(value) > 60 or f"(it is '{value}', from" in said


def test_a_topic_may_have_a_name_of_all_that_kafka_takes():
    name = "Ab9._-" + "x" * 243
    assert Settings(topics={"events": name}).topics.events == name


def test_names_that_differ_by_dots_and_underscores_alone_are_refused_with_both(error):
    said = error("--topics.events", "user.events", "--topics.raw-events", "user_events")
    assert "raw_events is 'user_events' and events 'user.events': Kafka makes no two topics" in said
    assert "(from --topics.events, from --topics.raw-events)" in said


# --- where an error comes from --------------------------------------------------------------------


def test_an_error_names_the_flag(error):
    said = error("--batch.max-records", "many")
    assert "setting batch.max_records: " in said
    assert "(it is 'many', from --batch.max-records)" in said


def test_an_error_names_the_shorthand_that_was_used(capsys):
    assert cli.main(["trainer", "--segments", "0"]) == 2
    said = capsys.readouterr().err
    assert "is 0: give a number of segments" in said
    assert "(from --segments)" in said


@pytest.mark.parametrize(
    ("algorithm", "instead"),
    [("streamkmeans", "kmeans"), ("clustream", "kmeans"), ("denstream", "dbstream")],
)
def test_a_clusterer_that_went_is_refused_with_the_one_to_take(error, algorithm, instead):
    said = error("--training.algorithm", algorithm)
    assert (
        f"setting training.algorithm: is '{algorithm}', which segmenter no longer has: take "
        f"{instead}, and segments that go on keep their ids (from --training.algorithm)"
    ) in said


def test_an_error_names_the_variable(error, monkeypatch):
    monkeypatch.setenv("SEGMENTER_BATCH__MAX_RECORDS", "0")
    assert "(it is '0', from SEGMENTER_BATCH__MAX_RECORDS)" in error()


def test_an_error_in_a_section_given_as_json_names_its_variable(error, monkeypatch):
    monkeypatch.setenv("SEGMENTER_BATCH", '{"max_records": 0}')
    assert "(it is 0, from SEGMENTER_BATCH)" in error()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[batch]\nmax_records = 0", 2),
        ('# a comment\n\n[ batch ]  # here\nmax_wait_seconds = 1\n"max_records" = 0', 5),
        ("batch.max_records = 0", 1),
        ("\nbatch = {max_records = 0}", 2),
        ('log.level = """\\\nINFO\\\n"""\nbatch.max_records = 0', 4),
    ],
)
def test_an_error_names_file_and_line(error, file, text, line):
    path = file(text)
    assert f"(it is 0, from {path}, line {line})" in error("--config", path)


def test_a_value_of_several_lines_is_told_with_its_first(error, file):
    path = file("[batch]\nmax_wait_seconds = 1\n\nmax_records = [\n1,\n2\n]\nreassign_users = 1")
    assert "setting batch.max_records: " in (said := error("--config", path))
    assert f"(from {path}, line 4)" in said


def test_an_error_names_the_source_that_won(error, file, monkeypatch):
    path = file("[batch]\nmax_records = 1")
    monkeypatch.setenv("SEGMENTER_BATCH__MAX_RECORDS", "-1")
    assert "from SEGMENTER_BATCH__MAX_RECORDS)" in error("--config", path)
    said = error("--config", path, "--batch.max-records", "-2")
    assert "(it is '-2', from --batch.max-records)" in said


def test_an_entry_of_a_property_is_told_with_the_line_of_its_table(error, file):
    path = file('[kafka]\n[kafka.properties]\n"security.protocol" = "SSL"\n"group.id" = "x"')
    assert f"group.id is set by the project itself; exactly-once rests on it (from {path}" in error(
        "--config", path
    )


def test_settings_that_contradict_each_other_are_told_with_both_sources(error, monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFKA__MAX_POLL_INTERVAL_SECONDS", "20")
    said = error("--kafka.transaction-timeout-seconds", 30, "--kafka.group-id", "x")
    assert "SEGMENTER_KAFKA__MAX_POLL_INTERVAL_SECONDS" in said
    assert "--kafka.transaction-timeout-seconds" in said
    assert "--kafka.group-id" not in said


@pytest.mark.parametrize(
    ("flag", "value", "one"),
    [
        ("--training", "hunter2", "training.segments"),
        ("--training", "5", "training.segments"),
        ("--kafka", "{", "kafka.bootstrap_servers"),
        ("--events", "hunter2", "events.preset"),
        ("--events.mapping", "hunter2", "events.mapping.fields"),
        ("--events.mapping", "[1]", "events.mapping.fields"),
    ],
)
def test_a_section_that_is_given_no_object_is_told_how_to_give_one(error, flag, value, one):
    said = error(flag, value)
    name = flag.removeprefix("--")
    assert f"setting {name}: is a section: set one of its settings, such as {one}, or all" in said
    assert f"from {flag})" in said
    assert "hunter2" not in said
    assert "CliSettingsSource" not in said
    assert "Policy" not in said


@pytest.mark.parametrize("name", ["SEGMENTER_KAFKA", "SEGMENTER_KAFKA__PROPERTIES"])
def test_a_variable_that_is_no_json_is_named_without_its_content(error, monkeypatch, name):
    monkeypatch.setenv(name, "hunter2")
    said = error()
    assert f"the environment's {name} must be JSON" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("content", [b"[kafka", b'[kafka]\ngroup_id = "\xff"'])
def test_a_file_that_is_no_toml_is_named(error, tmp_path, content):
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    assert f"cannot read the settings file {path}: " in error("--config", path)


@pytest.mark.parametrize("where", ["flag", "file"])
def test_a_secret_is_not_shown_by_an_error(error, file, where):
    if where == "flag":
        said = error("--kafka.secrets", "group.id=hunter2", "--batch.max-records", 0)
    else:
        said = error("--config", file("[kafka.secrets]\n'sasl.password' = ['hunter2']"))
    assert "hunter2" not in said


# --- what was meant -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[kafka]\ngruop_id = 'x'", "kafka.group_id"),
        ("[kafka]\npartitions = 3", "topics.partitions"),
        ("[trainning]\nsegments = 3", "training"),
        ("[events.mapping]\ntime_formt = 'rfc3339'", "events.mapping.time_format"),
    ],
)
def test_an_unknown_name_in_the_file_is_told_with_line_and_the_right_one(error, file, text, meant):
    path = file(text)
    said = error("--config", path)
    assert f"there is no such setting; did you mean {meant}?" in said
    assert f"(from {path}, line " in said


def test_a_table_that_is_none_is_told_once_with_its_first_line(error, file):
    path = file("[events.mapping.feilds]\nuser_id = ['a']\ntext = ['b']\noccurred_at = ['c']")
    said = error("--config", path)
    assert f"did you mean events.mapping.fields? (from {path}, line 2)" in said


def test_a_name_that_an_error_quotes_is_told_with_its_own_line(error, file):
    path = file("[events.mapping.fields]\nuser_id = ['a']\nuser = ['b']\ntext = ['c']")
    assert f"(from {path}, line 3)" in error("--config", path)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[events]\npreset = 'redit'", "reddit"),
        ("[events.mapping]\ntime_format = 'iso-8601'", "iso8601"),
    ],
)
def test_a_choice_that_is_none_is_told_once_with_the_nearest(error, file, text, meant):
    said = error("--config", file(text))
    assert f"; did you mean {meant!r}? (it is" in said
    assert said.count("setting ") == 1
    assert "literal[" not in said


def test_an_unknown_name_in_the_environment_is_told_with_the_right_one(error, monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFKA__GRUOP_ID", "x")
    said = error()
    assert "did you mean SEGMENTER_KAFKA__GROUP_ID? (from SEGMENTER_KAFKA__GRUOP_ID)" in said


@pytest.mark.parametrize("name", ["SEGMENTER_KAFAK__GROUP_ID", "SEGMENTER__KAFKA__GROUP_ID"])
def test_an_unknown_section_in_the_environment_is_told_with_the_right_variable(
    error, monkeypatch, name
):
    monkeypatch.setenv(name, "x")
    assert "did you mean SEGMENTER_KAFKA__GROUP_ID?" in error()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SEGMENTER_KAFKA_BOOTSTRAP_SERVERS", "SEGMENTER_KAFKA__BOOTSTRAP_SERVERS"),
        ("segmenter_kafka_group_id", "SEGMENTER_KAFKA__GROUP_ID"),
        ("SEGMENTER_TRAINING_SEGMENT", "SEGMENTER_TRAINING__SEGMENTS"),
        ("SEGMENTER_HTTP_PORT", "SEGMENTER_HTTP__PORT"),
        ("SEGMENTOR_KAFKA__GROUP_ID", "SEGMENTER_KAFKA__GROUP_ID"),
        ("SEGMENTER_CONFIGS", "SEGMENTER_CONFIG"),
    ],
)
def test_a_variable_that_is_nearly_right_is_warned_of_and_not_refused(
    capsys, monkeypatch, caplog, name, meant
):
    monkeypatch.setenv(name, "8080")
    with caplog.at_level(logging.WARNING):
        assert cli.main(["config"]) == 0
    sentence = f"the environment's {name} sets nothing: did you mean {meant}?"
    assert [record.getMessage() for record in caplog.records] == [sentence]


def test_a_hint_stands_beside_an_error(capsys, monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFKA_BOOTSTRAP_SERVERS", "k:1")
    assert cli.main(["config", "--batch.max-records", "0"]) == 2
    assert "did you mean SEGMENTER_KAFKA__BOOTSTRAP_SERVERS?" in capsys.readouterr().err


SERVICE_LINKS = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "8080",
    "SERVICE_PORT_HTTP": "8080",
    "PORT": "tcp://10.0.0.1:8080",
    "PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "PORT_8080_TCP_PROTO": "tcp",
    "PORT_8080_TCP_PORT": "8080",
    "PORT_8080_TCP_ADDR": "10.0.0.1",
}


@pytest.mark.parametrize("service", ["SEGMENTER", "SEGMENTER_HTTP", "SEGMENTER_KAFKA"])
def test_what_kubernetes_sets_for_a_service_is_left_alone(monkeypatch, service):
    links = {f"{service}_{name}": value for name, value in SERVICE_LINKS.items()}
    assert environment_hints(links) == []
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    assert Settings().http.port is None


def test_names_that_are_right_or_of_others_are_not_told():
    right = {variable(name): "x" for name in setting_names()}
    sections = {f"SEGMENTER_{name.upper()}": "{}" for name in Settings.model_fields}
    others = {
        "SEGMENTER_CACHE": "/c",
        "SEGMENTER_CONFIG": "/a.toml",
        "PATH": "/bin",
        "SEGMENT": "1",
    }
    assert environment_hints({**right, **sections, **others}) == []


# --- settings as text -----------------------------------------------------------------------------


@pytest.fixture
def some() -> Settings:
    return Settings(
        kafka={
            "bootstrap_servers": "a:1,b:2",
            "instance_id": "pod-1",
            "properties": {"security.protocol": "SSL", "ssl.ca.location": '/o\'a "b"\\c é\x7f'},
        },
        events={
            "mapping": {
                "fields": {"text": ["a.b", "c"]},
                "time_format": "pattern",
                "time_pattern": "%Y $HOME",
            },
            "weights": {"view": 0.25},
        },
        training={"segments": "auto"},
        assignment={"max_distance_share": 1.5},
        restore={"checkpoint_dir": "/var/lib/x"},
        http={"port": 0},
        topics={"retention_hours": 1e-05},
    )


def test_toml_is_read_back_as_the_same_settings(some, file, monkeypatch):
    monkeypatch.setenv("SEGMENTER_CONFIG", file(to_toml(some.masked())))
    assert Settings() == some


def test_variables_are_read_back_by_a_shell_as_the_same_settings(some, tmp_path, monkeypatch):
    path = tmp_path / "env"
    path.write_text(to_env(some.masked()))
    script = f"set -a; . {shlex.quote(str(path))}; env -0"
    printed = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, check=True, env={}
    ).stdout
    for line in filter(None, printed.decode().split("\0")):
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    assert Settings() == some


@pytest.mark.parametrize("form", FORMATS)
def test_secrets_are_masked_in_every_form_and_what_is_printed_is_accepted(
    form, file, capsys, monkeypatch
):
    given = ["--kafka.secrets", "sasl.password=hunter2", "--kafka.properties", "sasl.password=h2"]
    assert cli.main(["config", "--format", form, *given]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "h2" not in out
    assert out.count("********") == 2
    if form == "toml":
        assert cli.main(["config", "--format", form, "--config", file(out)]) == 0
        assert capsys.readouterr().out == out


def test_what_is_not_set_is_not_set_by_default_so_that_it_can_be_left_out():
    plain = Settings().masked()
    unset = [f"{section}.{n}" for section, v in plain.items() for n, x in v.items() if x is None]
    assert unset
    empty = Settings.model_validate(
        {section: {n: x for n, x in v.items() if x is not None} for section, v in plain.items()}
    )
    assert empty.masked() == plain
