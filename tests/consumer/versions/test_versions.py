"""`segmenter models` on a real Kafka: with a trainer and a worker at work, and without."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from segmenter_client import Changes, Segments

from consumer.cli import main as cli
from consumer.kafka.cluster import read_topic
from consumer.settings import Settings
from consumer.stages.training.stage import TrainingStage
from consumer.tryout.broker import EmbeddedKafka
from consumer.wiring.model_feed import ModelFeed
from schemas.changes import ChangeCause, ChangeReason, SegmentChange
from schemas.lifecycle import LifecycleEvent
from schemas.model_control import ModelOrder
from schemas.segment_model import SEGMENT_MODEL_KEY, SegmentModelRecord
from tests.consumer.kafka_runs import (
    Pair,
    Running,
    audit,
    changes_of,
    committed,
    event,
    model_of,
    produce,
    settings_for,
    stream,
    until,
    worker,
)
from tests.consumer.stages.stage_data import NOW
from tests.consumer.status.test_status import flags
from tests.stubs import HashingEmbedder

TEXTS = {"n": "quantum qubit gate physics photon", "o": "opera singer aria stage soprano"}


def models(
    settings: Settings, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> Any:
    """Run the command; give what it wrote as JSON, or what it said where it failed."""
    assert cli.main(["models", *words, "--json", *flags(settings)]) == code
    told = capsys.readouterr()
    return json.loads(told.out) if code == 0 else told.err.splitlines()[-1]


def latest(settings: Settings) -> SegmentModelRecord | None:
    records = [*read_topic(settings, settings.topics.models)]
    return SegmentModelRecord.model_validate_json(records[-1].value or b"") if records else None


def version(settings: Settings) -> int:
    model = latest(settings)
    return model.version if model else 0


@contextmanager
def trainer(settings: Settings, name: str) -> Iterator[tuple[Running, TrainingStage]]:
    stage = TrainingStage(settings)
    running = Running(settings, stage, name, f"{settings.kafka.group_id}-trainer")
    try:
        yield running, stage
    finally:
        running.stop()


def newcomers(kind: str, users: int = 40) -> list[Pair]:
    return [event(f"{kind}{user}", n, TEXTS[kind]) for n in range(3) for user in range(users)]


def standing(settings: Settings) -> dict[str, SegmentChange]:
    """Each user's latest change."""
    return {change.user_id: change for change in changes_of(settings)}


def members(settings: Settings, segments: set[int]) -> set[str]:
    """Users of some segments."""
    return {
        user
        for user, change in standing(settings).items()
        if change.segment is not None and change.segment.id in segments
    }


def by_operator(settings: Settings, users: set[str], model: int) -> bool:
    latest = standing(settings)
    return {
        (c.reason, c.cause, c.source, c.model.version) for c in map(latest.get, users) if c
    } == {(ChangeReason.ROLLBACK, ChangeCause.OPERATOR, None, model)}


def test_a_rollback_takes_users_back_holds_over_a_restart_and_learning_goes_on(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers, training={"segments": 5, "warmup_users": 10})
    feed = ModelFeed(settings)
    total = 0

    def send(pairs: list[Pair]) -> None:
        nonlocal total
        total += len(pairs)
        produce(settings, pairs)
        until(lambda: committed(settings) == total)

    with worker(settings, feed) as (_, segmentation):
        with trainer(settings, "t0") as (_, learning):
            send(stream(users=30, events=3))
            until(lambda: version(settings) > 0 and learning.settled)
            # So that the next version is learned from all that come.
            assert models(settings, capsys, "freeze")["done"]
            first = version(settings)
            send(newcomers("n"))
            until(lambda: learning.sampled_users == 70 and learning.settled)
            assert version(settings) == first
            assert models(settings, capsys, "unfreeze")["done"]
            until(lambda: version(settings) > first and learning.settled)
            assert models(settings, capsys, "freeze")["done"]
            wide = latest(settings)
            assert wide is not None

            preview = models(settings, capsys, "rollback", str(first), "--dry-run")
            assert version(settings) == wide.version
            gone = {segment["id"] for segment in preview["retired"]}
            until(lambda: members(settings, gone))
            until(lambda: segmentation.settled and feed.version == wide.version)
            those = members(settings, gone)
            assert preview["becomes"] == wide.version + 1
            assert (preview["users"], preview["restored"]) == (70, [])
            assert preview["moved_of_all"] == preview["moved"] >= len(those)

            answer = models(settings, capsys, "rollback", str(first))
            assert (answer["done"], answer["model_version"]) == (True, wide.version + 1)
            until(lambda: not members(settings, gone))
            assert by_operator(settings, those, wide.version + 1)

        with trainer(settings, "t1") as (_, learning):
            send(newcomers("o"))
            until(lambda: learning.sampled_users == 110 and learning.settled)
            assert learning.frozen
            assert version(settings) == wide.version + 1

            # What went away comes back, and its users with it.
            assert models(settings, capsys, "rollback", str(wide.version))["done"]
            until(lambda: those <= members(settings, gone))
            assert by_operator(settings, those, wide.version + 2)
            with Segments(
                settings.kafka.bootstrap_servers, topic=settings.topics.segments
            ) as segments:
                assert {each.id for each in segments} == {each.id for each in wide.segments}

            assert models(settings, capsys, "unfreeze")["done"]
            until(lambda: version(settings) > wide.version + 2)
            until(lambda: segmentation.model is not None and segmentation.settled)
            until(lambda: feed.version == version(settings))

        told = models(settings, capsys, "list")
        assert (told["in_force"], told["frozen"], told["waiting"]) == (version(settings), False, [])
        origins = {each["version"]: each["origin"] for each in told["versions"]}
        assert sorted(origins) == [*range(1, version(settings) + 1)]
        assert [n for n, origin in origins.items() if origin == "rollback"] == [
            wide.version + 2,
            wide.version + 1,
        ]
        until(lambda: segmentation.settled)
    feed.close()
    asked = sum(change.cause is ChangeCause.OPERATOR for change in changes_of(settings))
    with Changes(
        settings.kafka.bootstrap_servers,
        f"{settings.kafka.group_id}-campaigns",
        topic=settings.topics.changes,
        causes={"operator"},
    ) as changes:
        assert {change.reason for change in islice(changes, asked)} == {"rollback"}
    events = [
        LifecycleEvent.model_validate_json(record.value or b"")
        for record in read_topic(settings, settings.topics.lifecycle)
    ]
    restored = {e.segment for e in events if e.type == "restored"}
    assert restored == gone
    born = {e.segment for e in events if e.type == "created" and e.version > wide.version}
    assert born
    assert min(born) >= wide.next_id
    result = audit(settings)
    assert result.exit_code == 0, result.render()


def with_models(settings: Settings) -> None:
    """Put two versions on the topics, as a trainer would, and nobody to follow orders."""
    stage = TrainingStage(settings)
    first = model_of(HashingEmbedder(), 1)
    second = replace(model_of(HashingEmbedder(), 2, swap=True), sizes=first.sizes + 3)
    for model, before in ((first, None), (second, first)):
        for output in [
            *stage._published_by(model, before, NOW),
            *stage._versions.keep(model, before, "trainer", NOW),
        ]:
            produce(settings, [(output.key, output.value)], output.topic)


def test_without_a_trainer_an_order_waits_and_that_is_said(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers)
    with_models(settings)
    assert cli.main(["models", "rollback", "1", "--timeout", "0.1", *flags(settings)]) == 3
    told = capsys.readouterr().err
    assert "no trainer is running: group" in told
    assert "the next trainer that starts follows it before it learns anything" in told
    assert "no trainer has answered within 0.1 s: the order" in told
    (waiting,) = models(settings, capsys, "list")["waiting"]
    assert (waiting["action"], waiting["version"]) == ("rollback", 1)
    assert version(settings) == 2
    with trainer(settings, "t0") as (_, stage):
        until(lambda: version(settings) == 3)
        until(lambda: stage.frozen)
    found = models(settings, capsys, "list")
    assert (found["waiting"], found["frozen"], found["frozen_by"]) == ([], True, "rollback")
    assert found["answers"][0]["id"] == waiting["id"]


def test_of_two_rollbacks_at_once_the_second_has_to_see_the_first(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers)
    with_models(settings)
    command = ["models", "rollback", "1", "--timeout", "0", *flags(settings)]
    assert [cli.main(command) for _ in range(2)] == [3, 3]
    capsys.readouterr()
    with trainer(settings, "t0"):
        until(lambda: len(models(settings, capsys, "list")["answers"]) == 2)
        later, earlier = models(settings, capsys, "list")["answers"]
        assert (earlier["done"], later["done"]) == (True, False)
        assert "version 3, the rollback to version 1, has come since" in later["detail"]
        assert version(settings) == 3
        # Both wait for their answers at the same time.
        ended: list[int] = []
        threads = [
            threading.Thread(
                target=lambda words=words: ended.append(
                    cli.main(["models", *words, *flags(settings)])
                )
            )
            for words in (["freeze"], ["freeze"], ["rollback", "2"])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert ended == [0, 0, 0]
        assert version(settings) == 4


def test_what_cannot_be_rolled_back_to_is_refused_before_an_order_is_written(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers)
    assert models(settings, capsys, "rollback", "1", code=3) == (
        "segmenter: there is no version 1: there is none yet"
    )
    with_models(settings)
    assert models(settings, capsys, "rollback", "2", code=3) == (
        "segmenter: version 2 is the one in force"
    )
    assert models(settings, capsys, "rollback", "9", code=3) == (
        "segmenter: there is no version 9: those that there are: 1, 2"
    )
    assert not list(read_topic(settings, settings.topics.model_control))


def test_versions_are_shown_to_people_and_to_machines(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers, training={"kept_versions": 1})
    with_models(settings)
    found = models(settings, capsys, "list")
    assert [(each["version"], each["in_force"], each["kept"]) for each in found["versions"]] == [
        (2, True, True)
    ]
    shown = models(settings, capsys, "show", "2")
    assert [(s["id"], s["name"], s["users"], s["since"]) for s in shown["members"]] == [
        (0, "hops", 3, 1),
        (1, "runs", 3, 1),
    ]
    assert shown["settings"]["kept_versions"] == 1
    assert "centre" not in json.dumps(shown)
    assert cli.main(["models", "show", "2", *flags(settings)]) == 0
    text = capsys.readouterr().out
    assert "version 2, made 2026" in text
    assert "hops" in text
    assert "kept_versions = 1" in " ".join(text.split())
    produce(
        settings,
        [(b"x", ModelOrder(action="thaw", at=NOW).model_dump_json().encode()), (b"y", b"{")],
        settings.topics.model_control,
    )
    assert cli.main(["models", "list", *flags(settings)]) == 0
    text = capsys.readouterr().out
    assert "not frozen: new versions are learned" in text
    assert "waits for a trainer: thaw" in text
    assert "waits for a trainer: unreadable" in text


def test_the_version_of_a_release_that_kept_none_is_shown_as_not_kept(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers)
    record = model_of(HashingEmbedder(), 7).to_record().model_dump_json().encode()
    produce(settings, [(SEGMENT_MODEL_KEY, record)], settings.topics.models)
    (only,) = models(settings, capsys, "list")["versions"]
    assert (only["version"], only["in_force"], only["kept"]) == (7, True, False)
    assert (only["origin"], only["at"]) == ("unknown", None)
    assert models(settings, capsys, "show", "7")["members"][0]["name"] == "hops"


def test_a_version_that_cannot_be_read_hides_no_other(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    settings = settings_for(broker.bootstrap_servers)
    with_models(settings)
    produce(settings, [(b"1", b'{"schema_version": 2}')], settings.topics.model_versions)
    found = models(settings, capsys, "list")
    assert [each["version"] for each in found["versions"]] == [2]
    told = f"version 1 on {settings.topics.model_versions} was written by a newer version"
    assert told in caplog.text
    assert models(settings, capsys, "show", "2")["version"] == 2
    assert told in models(settings, capsys, "show", "1", code=3)


def test_topics_that_are_not_there_are_named_with_the_command_that_makes_them(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
):
    settings = settings_for(broker.bootstrap_servers)
    topics = settings.topics.model_copy(update={"model_versions": "no-such-topic"})
    settings = settings.model_copy(update={"topics": topics})
    told = models(settings, capsys, "list", code=3)
    assert "there is no topic no-such-topic" in told
    assert "run 'segmenter topics create'" in told
