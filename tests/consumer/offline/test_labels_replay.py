"""Labels in a replay, and in the audit of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consumer.cli.main import main
from consumer.contract.records import Output
from consumer.offline.files import read_records, with_labels
from consumer.offline.replay import Replay, replay_file
from consumer.settings import Settings
from consumer.stages.shared.snapshots import read_label_model
from consumer.verify import ViolationKind, verify_folder
from schemas.changes import ChangeReason, SegmentChange
from tests.consumer.stages.label_data import (
    NAMES,
    Worker,
    a_label_model,
    on,
)
from tests.consumer.stages.stage_data import (
    EMBEDDER,
    NOW,
    TOPICS,
    a_model,
    changes_in,
    event,
    records,
    turned,
)
from tests.stubs import HashingEmbedder


def write(path: Path, values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def files(folder: Path) -> tuple[Path, Path]:
    """Events of 40 users of two kinds, half of whom are labelled."""
    events = [
        event(f"u{n % 40}", n // 40, f"{TOPICS[n % 2]} {TOPICS[n % 2].split()[n % 5]}")
        for n in range(400)
    ]
    labels = [
        {"user_id": f"u{n}", "label": NAMES[n % 2], "labelled_at": "2026-01-02T00:00:00Z"}
        for n in range(20)
    ]
    labels.insert(3, {"user_id": "u9", "label": " no", "labelled_at": "2026-01-02T00:00:00Z"})
    return write(folder / "events.jsonl", events), write(folder / "labels.jsonl", labels)


def settings_for_replay() -> Settings:
    return on(
        training={"segments": 2, "warmup_users": 20, "sample_users": 100},
        labels={"publish_every": 20},
        batch={"max_records": 50},
    )


def test_a_replay_learns_labels_and_gives_them_to_everybody(tmp_path: Path) -> None:
    events, labels = files(tmp_path)
    out = tmp_path / "out"
    result = replay_file(events, out, settings_for_replay(), EMBEDDER, now=NOW, labels=labels)
    assert (result.records, result.accepted, result.refused) == (400, 400, 0)
    profiles = [json.loads(line) for line in (out / "profiles.jsonl").read_text().splitlines()]
    assert len(profiles) == 40
    assert all(p["labels"]["predicted"] == NAMES[int(p["user_id"][1:]) % 2] for p in profiles)
    assert sum(p["labels"]["given"] is not None for p in profiles) == 20
    (letter,) = (out / "label-dead-letters.jsonl").read_text().splitlines()
    assert json.loads(letter)["offset"] == 3
    assert read_label_model((out / "label-model.json").read_bytes(), "it").names == NAMES
    verified = verify_folder(out)
    assert verified.exit_code == 0, verified.render()


def test_segments_are_the_same_with_labels_and_without(tmp_path: Path) -> None:
    events, _ = files(tmp_path)
    labels = write(
        tmp_path / "many.jsonl",
        (
            {
                "user_id": f"u{n % 45}",
                "label": NAMES[n % 2],
                "labelled_at": f"2026-01-{day:02}T00:00:00Z",
            }
            for day in range(1, 29)
            for n in range(3 * day)
        ),
    )
    settings = settings_for_replay()
    versions = []
    for name, given in (("with", labels), ("without", None)):
        out = tmp_path / name
        result = replay_file(events, out, settings, EMBEDDER, now=NOW, labels=given)
        versions.append(result.model_version)
        assert (out / "model.json").read_bytes() == (tmp_path / "with/model.json").read_bytes()
    lifecycles = [
        (tmp_path / name / "segment-lifecycle.jsonl").read_bytes() for name in ("with", "without")
    ]
    assert lifecycles[0] == lifecycles[1]
    assert versions[0] == versions[1]


def test_two_replays_write_the_same(tmp_path: Path) -> None:
    events, labels = files(tmp_path)
    for name in ("one", "two"):
        replay_file(
            events, tmp_path / name, settings_for_replay(), EMBEDDER, now=NOW, labels=labels
        )
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_the_audit_finds_a_label_that_breaks_the_chain(tmp_path: Path) -> None:
    events, labels = files(tmp_path)
    out = tmp_path / "out"
    replay_file(events, out, settings_for_replay(), EMBEDDER, now=NOW, labels=labels)
    path = out / "profiles.jsonl"
    lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    first["labels"]["predicted"] = "wine"
    path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    changes = out / "segment-changes.jsonl"
    told = [json.loads(line) for line in changes.read_text().splitlines()]
    last = next(each["data"] for each in reversed(told) if each["data"].get("label"))
    last["label"]["previous"] = "wine"
    changes.write_text("".join(json.dumps(each) + "\n" for each in told))
    kinds = [violation.kind for violation in verify_folder(out).violations]
    assert kinds.count(ViolationKind.LABEL) == 2


def test_labels_take_effect_at_their_time(tmp_path: Path) -> None:
    events = write(tmp_path / "e", [event("a", 0), event("a", 2), event("a", 1), event("a", 3)])
    days = ["2026-01-02", "2025-01-01", "2026-01-03", "no day", "2027-01-01"]
    labels = write(
        tmp_path / "l",
        [{"user_id": "a", "label": "x", "labelled_at": f"{day}T00:00:00Z"} for day in days],
    )
    settings = Settings()
    found = with_labels(
        read_records(events, "user-events", settings.events.intake()), labels, settings
    )
    assert [(record.topic, record.offset) for record in found] == [
        ("user-events", 0),
        ("segment-labels", 0),
        ("segment-labels", 1),  # never before a label that stands before it
        ("segment-labels", 2),
        ("segment-labels", 3),
        ("user-events", 1),
        ("user-events", 2),
        ("user-events", 3),
        ("segment-labels", 4),
    ]


def test_labels_may_be_a_table(tmp_path: Path) -> None:
    events = write(tmp_path / "e", [event("a", 0), event("a", 3)])
    labels = tmp_path / "labels.csv"
    labels.write_text("user_id,label,labelled_at\na,x,2026-01-02T00:00:00Z\n")
    settings = Settings()
    found = list(
        with_labels(read_records(events, "user-events", settings.events.intake()), labels, settings)
    )
    assert [record.topic for record in found] == ["user-events", "segment-labels", "user-events"]
    assert (found[1].key, json.loads(found[1].value or b"")["label"]) == (b"a", "x")


def test_the_command_replays_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.wiring.embedder.load_embedder", lambda _settings: EMBEDDER)
    events, labels = files(tmp_path)
    out = tmp_path / "out"
    given = ["replay", str(events), "--output", str(out), "--user-labels", str(labels)]
    given += ["--now", "2026-06-01T00:00:00Z", "--training.segments", "2"]
    assert main(given) == 0
    model = out / "label-model.json"
    assert model.exists()
    again = ["replay", str(events), "--output", str(tmp_path / "again")]
    kept = ["--model", str(out / "model.json"), "--label-model", str(model)]
    assert main([*again, *kept]) == 0
    assert '"label":{"name"' in (tmp_path / "again" / "segment-changes.jsonl").read_text()
    assert main([*again, "--label-model", str(model)]) == 2


def test_one_label_model_is_kept_in_a_replay_with_a_fixed_one() -> None:
    replay = Replay(on(), HashingEmbedder(16), a_model(), datetime(2026, 6, 1, tzinfo=UTC),
                    a_label_model())  # fmt: skip
    found: list[SegmentChange] = []

    def sink(output: Output) -> None:
        found.extend(changes_in([output]))

    assert replay.run(records([event("u", 0)]), sink) == 1
    assert [change.label.name for change in found] == ["brewers"]


def test_segment_models_may_turn_while_labels_stay() -> None:
    worker = Worker(a_label_model())
    worker.run(records([event("u", 0)]))
    worker.source.model = turned(a_model())
    (change,) = changes_in(worker.maintain())
    assert change.reason is ChangeReason.MODEL_UPDATE
    assert (change.label.name, change.label.previous) == ("brewers", "brewers")
