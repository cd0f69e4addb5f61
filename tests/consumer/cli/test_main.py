"""The command line: help, wrong usage, exit codes, and what goes where."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version

import click
import pytest
from click.shell_completion import ShellComplete

from consumer.cli import main as cli
from consumer.cli.flags import setting_flags
from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.settings.commands import USES, uses
from consumer.settings.sources import setting_names
from consumer.wiring import embedder
from tests.consumer.settings_read import reads_noted
from tests.consumer.stages.stage_data import EMBEDDER, TOPICS, a_model, event


def loaded(group=cli.segmenter) -> dict[str, click.Command]:
    """All commands that are no groups, by the words that call them."""
    found = {}
    for name in group.commands:
        _, command, _ = group.resolve_command(click.Context(group), [name])
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": each for inner, each in loaded(command).items()}
        else:
            found[name] = command
    return found


COMMANDS = [
    "worker",
    "trainer",
    "broker",
    "demo",
    "replay",
    "evaluate",
    "report",
    "verify",
    "migrate",
    "status",
    "watch",
    "changes",
    "reset",
    "dead-letters list",
    "dead-letters show",
    "dead-letters redrive",
    "doctor",
    "profile",
    "explain",
    "models list",
    "models show",
    "models freeze",
    "models unfreeze",
    "models rollback",
    "topics create",
    "topics check",
    "topics strimzi",
    "produce",
    "model prepare",
    "intake",
    "recommender",
    "rules run",
    "rules test",
    "model export",
    "model verify",
    "model fit words",
    "model advise",
    "model list",
    "config",
]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """No settings from outside, and `--config`, which goes there, does not stay."""
    for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SEGMENTER_CONFIG", "")


@pytest.fixture
def segmenter(capsys):
    """Run a command line; give exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        return cli.main([str(argument) for argument in arguments]), *capsys.readouterr()

    return run


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [json.dumps(event(f"user-{n}", 1, TOPICS[n % 2])) for n in range(30)]
    path.write_text("\n".join([*lines, "{"]))
    return path


# --- help -----------------------------------------------------------------------------------------


def test_every_command_is_under_test():
    assert sorted(loaded()) == sorted(COMMANDS)


def test_the_table_that_the_help_lists_says_what_the_commands_say_of_themselves():
    modules = {
        name: getattr(import_module(f"consumer.cli.{module}"), module)
        for name in cli.COMMANDS
        for module in [name.replace("-", "_")]
    }
    told = {name: command.help.partition("\n")[0] for name, command in modules.items()}
    assert told == cli.COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_names_it_and_its_settings(segmenter, command):
    code, out, err = segmenter(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: segmenter {command} [OPTIONS]")
    shown = set(re.findall(r"^  --([a-z-]+\.[a-z0-9.-]+)", out, re.MULTILINE))
    expected = [name for name in setting_names() if uses(command, name)]
    assert shown == {name.replace("_", "-") for name in expected}
    assert ("--bootstrap-servers" in out) == ("kafka.bootstrap-servers" in shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_no_default_where_there_is_none_and_no_names_of_python(segmenter, command):
    _, out, _ = segmenter(*command.split(), "--help")
    said = " ".join(out.split())
    hushed = "default: None", "default factory", "REVIEW", "frozenset"
    assert [words for words in hushed if words in said] == []


def test_every_command_is_in_the_table_of_what_it_uses_and_all_of_that_are_settings():
    assert loaded().keys() == USES.keys()
    known = {*setting_names(), *Settings.model_fields}
    assert {name for used in USES.values() for name in used} <= known


def test_a_command_that_uses_a_name_uses_the_prefix_that_may_begin_it():
    named = [f"topics.{name}" for name, _ in Settings().topics.names()]
    users = [command for command in USES if any(uses(command, name) for name in named)]
    assert {"worker", "produce", "models freeze"} <= set(users)
    assert [command for command in users if not uses(command, "topics.prefix")] == []


@pytest.mark.parametrize(
    ("command", "used", "others"),
    [
        ("topics create", "topics.partitions", "training.seed embedding.model http.port"),
        ("worker", "embedding.model", "training.segments drift.users topics.partitions"),
        ("trainer", "training.segments", "embedding.model events.preset assignment.margin_share"),
        ("verify", "http.port", "training.seed embedding.model kafka.group_protocol"),
        ("broker", "log.level", "kafka.group_id topics.events"),
    ],
)
def test_help_leaves_out_what_a_command_does_not_use(segmenter, command, used, others):
    _, out, _ = segmenter(*command.split(), "--help")
    assert f"--{used.replace('_', '-')}" in out
    assert [name for name in others.split() if f"--{name.replace('_', '-')} " in out] == []
    assert "events.mapping options" not in out or command == "worker"


def test_a_replay_reads_no_setting_that_its_help_leaves_out(events, tmp_path):
    settings = Settings(training={"segments": 2, "warmup_users": 10})
    with reads_noted() as read:
        replay_file(
            events, tmp_path / "out", settings, EMBEDDER, now=datetime(2026, 6, 1, tzinfo=UTC)
        )
    assert {"topics.events", "events.weights", "training.sample_users"} <= read
    assert [name for name in read if not uses("replay", name)] == []


def test_the_version_is_that_of_the_package(segmenter):
    assert segmenter("--version") == (0, f"segmenter {version('segmenter')}\n", "")


def test_help_of_the_whole_lists_the_commands(segmenter):
    code, out, _ = segmenter("--help")
    assert code == 0
    assert all(command.split()[0] in out for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        ("--help", []),
        ("config", ["config"]),
        ("worker --help", ["worker"]),
        ("topics --help", ["topics"]),
    ],
)
def test_only_the_command_that_is_asked_for_is_loaded_and_none_of_what_it_runs(arguments, modules):
    script = f"""
import sys
from consumer.cli import main
main.main({arguments.split()})
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {*done.stderr.split()}
    assert [name for name in cli.COMMANDS if f"consumer.cli.{name}" in loaded] == modules
    assert loaded & {"confluent_kafka", "numpy", "onnxruntime", "consumer.wiring"} == set()
    assert ("pydantic" in loaded) == bool(modules)


def test_only_the_flags_of_the_command_that_is_asked_for_are_made(segmenter):
    setting_flags.cache_clear()
    segmenter("config", "--log.level", "INFO")
    assert setting_flags.cache_info().currsize == 1


@pytest.mark.parametrize(
    ("given", "begun", "completions"),
    [
        ([], "wo", ["worker"]),
        (["topics"], "cr", ["create"]),
        (["trainer"], "--training.se", ["--training.segments", "--training.seed"]),
        (["broker"], "--training.se", []),
    ],
)
def test_a_shell_completes_commands_and_the_flags_that_they_use(given, begun, completions):
    shell = ShellComplete(cli.segmenter, {}, "segmenter", "_SEGMENTER_COMPLETE")
    assert [each.value for each in shell.get_completions(given, begun)] == completions


# --- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("wroker", "worker"),
        ("topics crate", "create"),
        ("config --kafka.gruop-id x", "--kafka.group-id"),
        ("worker --http.prot 1", "--http.port"),
        ("topics create --kafka.partitions 3", "--topics.partitions"),
        ("config --foramt toml", "--format"),
    ],
)
def test_a_command_or_flag_that_is_none_is_told_with_the_nearest(segmenter, arguments, meant):
    code, _, err = segmenter(*arguments.split())
    assert code == 2
    assert repr(meant) in err.partition("Did you mean")[2]


@pytest.mark.parametrize(
    "arguments", ["worker --trainin 5", "broker --data x --topics.partitons 3"]
)
def test_no_flag_is_suggested_that_the_help_of_the_command_hides(segmenter, arguments):
    code, _, err = segmenter(*arguments.split())
    assert (code, "No such option" in err) == (2, True)
    assert "--training'" not in err
    assert "--topics" not in err.replace("--topics.partitons", "")


def test_intake_heeds_all_of_a_mapping_that_finds_the_user():
    assert uses("intake", "events.mapping.null_values")
    assert uses("intake", "events.mapping.when")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "Usage: segmenter [OPTIONS] COMMAND"),
        ("frobnicate", "No such command 'frobnicate'"),
        ("topics", "Usage: segmenter topics [OPTIONS] COMMAND"),
        ("config --kafka.gruop-id x", "No such option '--kafka.gruop-id'"),
        ("config --kafka.properties hunter", "NAME=VALUE"),
        ("config --format tolm", "'tolm' is not one of 'json', 'toml', 'env'"),
        ("config x", "unexpected extra argument (x)"),
        ("config --kafka.group-id", "'--kafka.group-id' requires an argument"),
        ("config --batch.max-records 0", "setting batch.max_records: Input should be greater than"),
        ("config --batch.max-records many", "setting batch.max_records: Input should be a valid"),
        ("config --kafka.properties group.id=x", "setting kafka.properties: group.id is set by"),
        ("config --training.warmup-users 9999", "setting training: warmup_users is 9999, more"),
        ("config --assignment.margin 0.05", "Did you mean one of: '--assignment.margin-share'"),
        ("config --config /nowhere/a.toml", "'--config': File '/nowhere/a.toml' does not exist"),
        ("replay /nowhere/events --output x", "File '/nowhere/events' does not exist"),
        ("replay /etc/hostname", "Missing option '--output'"),
        ("worker --model /nowhere/m.json", "'--model': File '/nowhere/m.json' does not exist"),
        ("broker", "Missing option '--data'"),
        ("broker --data x --brokers 2", "'--brokers': '2' is not one of '1', '3'"),
        ("broker --data x --port 0", "port is 0: choose one from 1 to 65535"),
        ("broker --data x --port \u0669\u0660", "no number in the digits 0 to 9"),
        (
            "demo --users \u0661\u0662",
            "'--users': '\u0661\u0662' is no number in the digits 0 to 9",
        ),
        ("demo --workers 0", "'--workers': 0 is not in the range x>=1"),
        ("verify a --against b", "--against compares topics with a folder"),
        ("verify a --follow", "--follow audits topics without an end: leave FOLDER and --against"),
        ("verify --follow --against a", "--follow audits topics without an end"),
        ("verify --from-now", "--from-now goes with --follow only"),
        ("verify --for 3", "--for goes with --follow only"),
        ("verify a --stall 3", "--stall goes with --follow only"),
        ("produce /nowhere/events", "File '/nowhere/events' does not exist"),
        ("produce /etc/hostname --rate 0", "'--rate': 0 is no number above 0"),
        ("produce /etc/hostname --rate inf", "'--rate': inf is no number above 0"),
        ("verify --follow --every 0", "'--every': 0 is no number above 0"),
        ("verify --follow --for \u0661", "'--for': \u0661 is no number above 0"),
        ("verify --follow --settle nan", "'--settle': nan is no number above 0"),
        (
            "verify --follow --bootstrap-servers 127.0.0.1:1",
            "cannot reach Kafka at 127.0.0.1:1: it refuses the connection",
        ),
        *(
            (
                f"{command} --kafka.properties nonsense=1",
                'No such configuration property: "nonsense"',
            )
            for command in ("worker", "trainer", "topics create", "verify", "migrate")
        ),
        ("verify --against /nowhere", "/nowhere holds no segment-changes.jsonl: give the --output"),
        ("config --restore.checkpoint-dir=", "the path is empty"),
        ("verify /nowhere", "/nowhere holds no segment-changes.jsonl: give the --output folder"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(segmenter, arguments, sentence):
    code, out, err = segmenter(*arguments.split())
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", ""),
        ("verify", "--against", ""),
        ("replay", "/etc/hostname", "--output", ""),
        ("evaluate", "/etc/hostname", "--output", ""),
        ("demo", "--output", ""),
        ("demo", "--input", ""),
        ("broker", "--data", ""),
        ("model", "export", "x", "--output", ""),
        ("model", "verify", ""),
        ("produce", ""),
        ("profile", "u", "--file", ""),
        ("worker", "--model", ""),
        ("config", "--config", ""),
    ],
)
def test_an_empty_path_is_not_the_present_folder(segmenter, arguments):
    code, _, err = segmenter(*arguments)
    assert code == 2
    assert "the path is empty" in err


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01", "2026-02-30T00:00:00Z"])
def test_a_time_that_is_none_is_wrong_usage(segmenter, events, time):
    code, _, err = segmenter("replay", events, "--output", "x", "--now", time)
    assert code == 2
    assert f"Invalid value for '--now': {time} " in err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[kafka]\ngruop_id = 1", "setting kafka.gruop_id: "), ("[kafka", "segmenter: ")],
)
def test_a_bad_settings_file_is_wrong_usage(segmenter, tmp_path, text, sentence):
    path = tmp_path / "a.toml"
    path.write_text(text)
    code, _, err = segmenter("config", "--config", path)
    assert code == 2
    assert err.startswith("segmenter: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_misspelt_section_in_the_environment_is_wrong_usage(segmenter, monkeypatch):
    monkeypatch.setenv("SEGMENTER_KAFAK__GROUP_ID", "x")
    code, _, err = segmenter("config")
    assert code == 2
    assert "did you mean SEGMENTER_KAFKA__GROUP_ID? (from SEGMENTER_KAFAK__GROUP_ID)" in err


# --- settings -------------------------------------------------------------------------------------


def test_flags_come_before_the_environment_and_that_before_the_file(
    segmenter, tmp_path, monkeypatch
):
    path = tmp_path / "a.toml"
    path.write_text("[training]\nsegments = 3\nseed = 3\nwarmup_users = 33")
    monkeypatch.setenv("SEGMENTER_TRAINING__SEGMENTS", "4")
    monkeypatch.setenv("SEGMENTER_TRAINING__SEED", "4")
    code, out, _ = segmenter("config", "--config", path, "--training.segments", 5)
    training = json.loads(out)["training"]
    assert code == 0
    assert (training["segments"], training["seed"], training["warmup_users"]) == (5, 4, 33)
    assert training["reseed_every"] == 10_000


def test_a_shorthand_is_the_setting_it_stands_for(segmenter):
    _, out, _ = segmenter("config", "--bootstrap-servers", "k:1")
    assert json.loads(out)["kafka"]["bootstrap_servers"] == "k:1"


def test_config_masks_secrets_and_shows_the_rest(segmenter):
    code, out, err = segmenter(
        "config",
        *("--kafka.properties", "sasl.password=hunter2"),
        *("--kafka.properties", "security.protocol=SASL_SSL"),
        *("--kafka.secrets", "ssl.key.password=hunter2"),
    )
    kafka = json.loads(out)["kafka"]
    assert code == 0
    assert kafka["properties"] == {"sasl.password": "********", "security.protocol": "SASL_SSL"}
    assert [*kafka["secrets"]] == ["ssl.key.password"]
    assert "hunter2" not in out + err


@pytest.mark.parametrize("secret", ["group.id=hunter2", "hunter2", '"sasl.password=hunter2"'])
def test_a_secret_that_is_refused_is_not_printed(segmenter, secret):
    code, out, err = segmenter("config", "--kafka.secrets", secret)
    assert code == 2
    assert "--kafka.secrets" in err
    assert "hunter2" not in out + err


def test_a_flag_that_a_command_does_not_use_is_accepted_and_told(segmenter, caplog):
    # One script, or one pod template, may give the same flags to all processes.
    code, _, _ = segmenter("model", "list", "--training.seed", 3, "--log.level", "INFO")
    assert code == 0
    assert [record.getMessage() for record in caplog.records] == [
        "--training.seed changes nothing: segmenter model list does not use that setting"
    ]


def test_settings_of_other_sections_may_be_in_file_and_environment(
    segmenter, tmp_path, monkeypatch, caplog
):
    path = tmp_path / "a.toml"
    path.write_text("[training]\nsegments = 3")
    monkeypatch.setenv("SEGMENTER_HTTP__PORT", "8080")
    code, _, _ = segmenter("model", "list", "--config", path)
    assert (code, caplog.records) == (0, [])


# --- running --------------------------------------------------------------------------------------


def test_replay_then_verify(segmenter, monkeypatch, events, tmp_path):
    monkeypatch.setattr(embedder, "load_embedder", lambda _: EMBEDDER)
    folder = tmp_path / "out"
    small = ("--segments", 2, "--training.warmup-users", 10, "--now", "2026-06-01T00:00:00Z")
    code, out, _ = segmenter("replay", events, "--output", folder, *small)
    assert code == 0
    assert out == (
        "31 records: 30 accepted, 0 repeated, 1 refused\n"
        "30 users in 2 segments, 30 changes\n"
        "  id  users  segment\n"
        "   0     15  barley, brewing, hops\n"
        "   1     15  entangled, particle, photon\n"
        f"written to {folder}\n"
        "Refused:\n"
        "  1 invalid_json, first on line 31: not valid JSON: EOF while parsing an object\n"
        "    at line 1 column 1\n"
    )
    code, out, _ = segmenter("verify", folder)
    assert code == 0, out
    changes = folder / "segment-changes.jsonl"
    changes.write_text("".join(changes.read_text().splitlines(keepends=True)[1:]))
    code, out, _ = segmenter("verify", folder)
    assert code == 1
    assert "user-" in out


def test_replay_keeps_a_model_that_is_given(segmenter, monkeypatch, events, tmp_path):
    monkeypatch.setattr(embedder, "load_embedder", lambda _: EMBEDDER)
    model = tmp_path / "model.json"
    model.write_text(a_model(9).to_record().model_dump_json())
    code, _, _ = segmenter("replay", events, "--output", tmp_path / "out", "--model", model)
    assert code == 0
    assert json.loads((tmp_path / "out" / "model.json").read_text())["version"] == 9


def test_evaluate_prints_tables_or_json_and_leaves_a_folder(
    segmenter, monkeypatch, events, tmp_path
):
    monkeypatch.setattr(embedder, "load_embedder", lambda _: EMBEDDER)
    small = ("--segments", "auto", "--training.warmup-users", 10, "--now", "2026-06-01T00:00:00Z")
    labelled = ("evaluate", events, "--label", "user_id", *small)
    code, out, _ = segmenter(*labelled)
    assert (code, out.splitlines()[1]) == (0, "2 segments (found), model version 1")
    folder = tmp_path / "out"
    code, out, err = segmenter(*labelled, "--json", "--output", folder)
    assert code == 0
    assert json.loads(out) == json.loads((folder / "evaluation.json").read_text())
    assert {path.suffix for path in folder.iterdir()} == {".json", ".png"}
    assert str(folder) in err.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--label", "lable"), "--label is 'lable'"),
        (("--output", "{file}"), "'--output': Directory"),
        (("--segments", "many"), "setting training.segments: is 'many': give a number of segments"),
    ],
)
def test_an_evaluation_that_cannot_be_made_is_told_before_the_model_is_loaded(
    segmenter, monkeypatch, events, arguments, said
):
    monkeypatch.setattr(embedder, "load_embedder", lambda _: pytest.fail("loaded"))
    given = [argument.format(file=events) for argument in arguments]
    code, out, err = segmenter("evaluate", events, *given)
    assert (code, out) == (2, "")
    assert said in err


def test_a_model_file_that_is_none_ends_with_3_and_its_name(segmenter, monkeypatch, events):
    monkeypatch.setattr(embedder, "load_embedder", lambda _: EMBEDDER)
    code, out, err = segmenter("replay", events, "--output", events.parent / "o", "--model", events)
    assert (code, out) == (3, "")
    assert f"segmenter: {events} is no segment model: " in err


def test_a_reader_that_has_seen_enough_is_no_error_to_tell(tmp_path):
    command = f"{shlex.quote(sys.executable)} -m consumer.cli.main config --format json"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} | true"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
