"""A file through both stages: what comes out, and that it always is the same."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from consumer.offline.files import EventFileError
from consumer.offline.replay import ReplayOutputError, ReplayResult, replay_file
from consumer.settings import Settings
from consumer.verify import verify_folder
from schemas.dead_letters import DeadLetter
from schemas.lifecycle import LifecycleEvent, structured_lifecycle_event
from schemas.profiles import ProfileRecord
from schemas.segment_model import SegmentModelRecord
from tests.consumer.kafka_runs import placeless
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, a_model, event
from tests.stubs import FailingEmbedder

SETTINGS = Settings(
    training={"segments": 2, "warmup_users": 20, "sample_users": 60, "reseed_every": 50},
    batch={"max_records": 32},
)
ROOT = Path(__file__).parents[3]
NAMES = {
    "segment-changes.jsonl",
    "memberships.jsonl",
    "profiles.jsonl",
    "dead-letters.jsonl",
    "segment-lifecycle.jsonl",
    "segments.jsonl",
    "model.json",
    "details.json",
    "summary.json",
}


def stream() -> bytes:
    """Forty users of two interests, some of whom change theirs; repeats and bad lines among it."""
    draw = np.random.default_rng(5)
    lines = []
    for n in range(400):
        user = int(draw.integers(40))
        interest = (user + (n > 200 and user % 5 == 0)) % 2
        words = draw.choice(TOPICS[interest].split(), 3, replace=False)
        lines.append(json.dumps(event(f"user-{user}", n % 150, " ".join(words), event_id=str(n))))
    lines += lines[-7:]
    lines[100:100] = ["{", '{"user_id": "x"}', json.dumps(event("y", 1, None))]
    return "\n".join(lines).encode()


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    path.write_bytes(stream())
    return path


def replay(path: Path, folder: Path, **options) -> ReplayResult:
    return replay_file(path, folder, SETTINGS, EMBEDDER, **{"now": NOW, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def replayed(events, tmp_path_factory) -> tuple[Path, ReplayResult]:
    folder = tmp_path_factory.mktemp("replayed")
    return folder, replay(events, folder)


def test_two_processes_with_other_hash_seeds_write_the_same_bytes(events, replayed, tmp_path):
    folders = [tmp_path / seed for seed in ("1", "2")]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.consumer.offline.replay_twice", str(events), str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": folder.name},
        )
        for folder in folders
    ]
    assert [process.wait(timeout=200) for process in running] == [0, 0]
    assert contents(folders[0]) == contents(folders[1]) == contents(replayed[0])


def test_a_replay_leaves_its_nine_files_and_they_pass_the_audit(replayed):
    folder, result = replayed
    assert contents(folder).keys() == NAMES
    audit = verify_folder(folder)
    assert audit.exit_code == 0, audit.render()
    assert json.loads((folder / "summary.json").read_text()) == asdict(result)


def test_the_counts_add_up(replayed):
    folder, result = replayed
    assert result.records == 410 == result.accepted + result.repeated + result.refused
    assert (result.repeated, result.refused, result.users) == (7, 3, 40)
    assert result.changes == len(lines_of(folder / "segment-changes.jsonl")) > 40
    assert len(lines_of(folder / "memberships.jsonl")) == 40
    assert result.model_version == json.loads((folder / "model.json").read_text())["version"]
    assert result.segments == 2


def test_the_two_interests_become_the_two_segments(replayed):
    folder, _ = replayed
    members = Counter(
        (int(line["user_id"].partition("-")[2]) % 5 != 0, line["segment"]["id"], line["user_id"])
        for line in lines_of(folder / "memberships.jsonl")
    )
    for parity in (0, 1):  # those who never changed
        segments = {
            segment
            for steady, segment, user in members
            if steady and int(user.partition("-")[2]) % 2 == parity
        }
        assert len(segments) == 1


def test_dead_letters_say_which_line_and_why(replayed):
    letters = [
        DeadLetter.model_validate_json(line)
        for line in (replayed[0] / "dead-letters.jsonl").read_text().splitlines()
    ]
    assert [(letter.offset, letter.refusal.reason) for letter in letters] == [
        (100, "invalid_json"),
        (101, "missing_field"),
        (102, "no_text"),
    ]


def test_a_text_that_the_model_fails_on_is_in_the_dead_letters_and_nowhere_else(tmp_path):
    lines = [json.dumps(event(f"u{n % 5}", n, TOPICS[n % 2])) for n in range(60)]
    bad = json.dumps(event("u1", 61, "quark physics"))
    (tmp_path / "bad").write_text("\n".join([*lines[:40], bad, *lines[40:]]))
    (tmp_path / "good").write_text("\n".join(lines))
    embedder = FailingEmbedder("quark", 16)
    written = {}
    for name in ("bad", "good"):
        folder = tmp_path / f"{name}-out"
        result = replay_file(tmp_path / name, folder, SETTINGS, embedder, model=a_model(), now=NOW)
        written[name] = contents(folder)
        assert (result.refused, result.accepted) == (name == "bad", 60)
        assert verify_folder(folder).exit_code == 0
    (letter,) = written["bad"].pop("dead-letters.jsonl").splitlines()
    refused = DeadLetter.model_validate_json(letter)
    assert (refused.offset, refused.refusal.reason) == (40, "embedding_failed")
    assert written["bad"]["model.json"] == written["good"]["model.json"]
    bad_users, good_users = (
        [placeless(ProfileRecord.model_validate_json(line)) for line in found.splitlines()]
        for found in (written["bad"]["profiles.jsonl"], written["good"]["profiles.jsonl"])
    )
    assert bad_users == good_users


def test_the_lives_of_segments_are_told_as_events_at_event_time(replayed):
    folder, result = replayed
    lines = lines_of(folder / "segment-lifecycle.jsonl")
    assert [line["data"]["type"] for line in lines[:2]] == ["created", "created"]
    assert len({line["id"] for line in lines}) == len(lines)
    for line in lines:
        told = LifecycleEvent.model_validate(line["data"])
        assert line == structured_lifecycle_event(told, SETTINGS.kafka.group_id)
        assert told.at < NOW
        assert told.version <= result.model_version
    model = SegmentModelRecord.model_validate_json((folder / "model.json").read_bytes())
    created = {line["data"]["segment"] for line in lines if line["data"]["type"] == "created"}
    assert created == set(range(model.next_id))


def test_with_a_model_given_segments_have_no_lives(events, tmp_path):
    replay(events, tmp_path, model=a_model(7))
    assert (tmp_path / "segment-lifecycle.jsonl").read_bytes() == b""


def test_gzip_gives_the_same_as_plain(replayed, tmp_path):
    packed = tmp_path / "events.gz"
    packed.write_bytes(gzip.compress(stream()))
    replay(packed, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(replayed[0])


def test_with_a_model_given_nothing_is_learned(events, tmp_path):
    model = a_model(7)
    result = replay(events, tmp_path, model=model)
    written = SegmentModelRecord.model_validate_json((tmp_path / "model.json").read_bytes())
    assert written == model.to_record()
    assert (result.model_version, result.segments) == (7, 2)
    changes = [line["data"] for line in lines_of(tmp_path / "segment-changes.jsonl")]
    assert {change["reason"] for change in changes} == {"behaviour"}
    assert {change["model"]["version"] for change in changes} == {7}
    assert verify_folder(tmp_path).exit_code == 0


def test_with_a_model_given_the_size_of_a_batch_is_of_no_matter(events, tmp_path):
    written = []
    for size in (1, 500):
        settings = SETTINGS.model_copy(
            update={"batch": SETTINGS.batch.model_copy(update={"max_records": size})}
        )
        folder = tmp_path / str(size)
        replay_file(events, folder, settings, EMBEDDER, model=a_model(), now=NOW)
        found = contents(folder)
        # The time of a change is that of its batch, and so are the events that it names.
        found["changes"] = json.dumps(
            [
                line["data"] | {"changed_at": None, "shares": None, "id": line["id"]}
                for line in lines_of(folder / "segment-changes.jsonl")
            ]
        ).encode()
        for name in ("segment-changes.jsonl", "memberships.jsonl"):
            del found[name]
        written.append(found)
    assert written[0] == written[1]


def test_what_is_learned_depends_on_the_events_and_not_on_the_size_of_a_batch(tmp_path):
    draw = np.random.default_rng(7)
    lines = []
    for n in range(1500):
        interest = int(draw.integers(1 + min(2, n // 400)))  # a third one comes late
        user = 3 * int(draw.integers(60)) + interest
        words = draw.choice(["x7 y7 z7 q7", *TOPICS][interest].split(), 3)
        lines.append(json.dumps(event(f"user-{user}", n % 150, " ".join(words), event_id=str(n))))
    lines[700:700] = ["{"]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(lines))
    training = {"segments": 3, "warmup_users": 20}
    written = []
    for size in (64, 512, 2048):
        settings = Settings(training=training, batch={"max_records": size})
        folder = tmp_path / str(size)
        result = replay_file(path, folder, settings, EMBEDDER, now=NOW)
        written.append(contents(folder))
    assert result.model_version > 2
    assert written[0] == written[1] == written[2]


def test_now_decides_what_lies_in_the_future(tmp_path):
    path = tmp_path / "events"
    at = NOW + timedelta(days=1)
    path.write_text(json.dumps(event("u", 1, occurred_at=at.isoformat())))
    early = replay(path, tmp_path / "out", now=at - timedelta(seconds=3601))
    late = replay(path, tmp_path / "out", now=at - timedelta(seconds=3600))
    assert (early.refused, early.accepted) == (1, 0)
    assert (late.refused, late.accepted) == (0, 1)


def test_progress_is_told_after_every_batch(events, tmp_path):
    told: list[int] = []
    replay(events, tmp_path, progress=told.append)
    assert told == [*range(32, 410, 32), 410]


def test_an_empty_file_gives_an_empty_and_sound_folder(tmp_path):
    path = tmp_path / "events"
    path.write_bytes(b"")
    result = replay(path, tmp_path / "out")
    assert (result.records, result.users, result.model_version) == (0, 0, None)
    assert verify_folder(tmp_path / "out").exit_code == 0


def test_a_model_of_an_earlier_replay_does_not_pass_for_this_ones(events, tmp_path):
    replay(events, tmp_path)
    path = tmp_path / "one-event"
    path.write_text(json.dumps(event("u", 1)))
    assert replay(path, tmp_path).model_version is None
    assert not (tmp_path / "model.json").exists()


def test_a_damaged_gzip_is_an_error_and_leaves_no_summary(events, tmp_path):
    replay(events, tmp_path / "out")
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(stream())[:-9])
    with pytest.raises(EventFileError, match=r"events\.gz"):
        replay(path, tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_folder_that_is_a_file_is_an_error_that_names_it(events):
    with pytest.raises(ReplayOutputError, match=r"cannot write a replay to .*events\.jsonl"):
        replay(events, events)


def test_the_segments_are_those_of_the_model_and_memberships_have_their_names_but_for_few(
    replayed,
) -> None:
    folder, _ = replayed
    model = json.loads((folder / "model.json").read_text())
    lines = (folder / "segments.jsonl").read_text().splitlines()
    names = {each["id"]: each["name"] for each in map(json.loads, lines)}
    assert names == {each["id"]: each["label"] for each in model["segments"]}
    lines = (folder / "memberships.jsonl").read_text().splitlines()
    told = [each["segment"] for each in map(json.loads, lines) if each["segment"]]
    stale = sum(each["label"] != names[each["id"]] for each in told)
    assert stale <= 0.1 * len(told)
