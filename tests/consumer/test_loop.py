"""The loop on a real Kafka: what comes out is what a replay of the same input gives."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from consumer.model_feed import ModelFeed
from consumer.replay import FixedModel
from consumer.settings import DeadLetterSettings, TrainingSettings
from consumer.stages.dead_letters import DeadLetterLimitError
from consumer.stages.segmentation import SegmentationStage
from consumer.stages.training import TrainingStage, read_model
from models.profiles import ProfileTable
from models.segments import decide
from schemas.changes import ChangeReason, ChangeStatus
from schemas.dead_letters import HEADER_PREFIX
from tests.consumer.kafka import (
    Deployment,
    LoopThread,
    Tap,
    make_events,
    make_model,
    repeated,
    until,
)
from tests.stubs import HashingEmbedder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.broker import EmbeddedKafka
    from models.segments import SegmentModel

EMBEDDER = HashingEmbedder()
MODEL = make_model(EMBEDDER)


def stage_of(deployment: Deployment) -> SegmentationStage:
    return SegmentationStage(deployment.settings, EMBEDDER, FixedModel(MODEL))


def until_caught_up(deployment: Deployment, *loops: LoopThread) -> None:
    end = deployment.ends()
    until(lambda: deployment.committed() == end, f"all {end} records committed", alive=loops)


def test_the_loop_gives_what_a_replay_gives(broker: EmbeddedKafka) -> None:
    deployment = Deployment.on(broker)
    deployment.publish(MODEL)
    deployment.send_events(repeated(make_events(users=40, each=12)))
    with LoopThread(stage_of(deployment), deployment.settings) as loop:
        until_caught_up(deployment, loop)
        until(lambda: loop.settled_down, "the loop is idle", alive=[loop])
    deployment.assert_equals_replay(EMBEDDER, MODEL)


def test_a_restarted_worker_goes_on_with_every_chain(broker: EmbeddedKafka) -> None:
    deployment = Deployment.on(broker)
    deployment.publish(MODEL)
    for first in (0, 6):
        deployment.send_events(make_events(users=30, each=6, first=first))
        stage = stage_of(deployment)
        with LoopThread(stage, deployment.settings) as loop:
            until_caught_up(deployment, loop)
    deployment.assert_equals_replay(EMBEDDER, MODEL)
    entered = [c.user_id for c in deployment.changes() if c.status is ChangeStatus.ENTERED]
    assert sorted(entered) == sorted({f"u{user}" for user in range(30)})


def test_a_stop_commits_what_was_begun_and_leaves_the_rest(broker: EmbeddedKafka) -> None:
    deployment = Deployment.on(broker)
    deployment.publish(MODEL)
    sent = deployment.send_events(make_events(users=40, each=12))
    tap = Tap(batches=2)
    stage = SegmentationStage(deployment.settings, tap, FixedModel(MODEL))
    with LoopThread(stage, deployment.settings) as loop:
        until(tap.blocked.is_set, "the third batch is being embedded", alive=[loop])
        loop.loop.stop()
        tap.open()
        loop.stop()
    result = deployment.assert_sound()
    assert result.counts.records == deployment.committed() == result.counts.accepted
    # Two batches were through, the third under way.
    assert 200 <= deployment.committed() < sent
    with LoopThread(stage_of(deployment), deployment.settings) as loop:
        until_caught_up(deployment, loop)
    deployment.assert_equals_replay(EMBEDDER, MODEL)


# --- bad input ------------------------------------------------------------------------------

SECRET = "zebraconfession"
GOOD = {
    "event_id": "bad",
    "user_id": "v",
    "type": "review",
    "text": f"my {SECRET} of hops",
    "occurred_at": "2025-01-01T00:00:00Z",
}


def _json(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


BAD: dict[str, tuple[bytes | None, bytes | None, str, str]] = {
    "no value": (b"v", None, "missing_value", ""),
    "bad JSON": (b"v", _json()[:-10], "invalid_json", ""),
    "no object": (b"v", b'["zebraconfession"]', "invalid_json", ""),
    "bad UTF-8": (b"v", _json().replace(b"hops", b"h\xffps"), "invalid_utf8", ""),
    "lone surrogate": (b"v", _json(text=f"{SECRET} \ud83d"), "invalid_json", ""),
    "NaN": (b"v", _json(rating=float("nan")), "invalid_json", ""),
    "null key": (None, _json(), "missing_key", "key"),
    "key mismatch": (b"w", _json(), "key_mismatch", "key"),
    "wrong field": (b"v", _json(type="sneeze"), "invalid_field", "type"),
    "missing field": (b"v", _json().replace(b"event_id", b"event_no"), "missing_field", "event_id"),
    "no zone": (b"v", _json(occurred_at="2025-01-01T00:00:00"), "invalid_field", "occurred_at"),
    "far past": (b"v", _json(occurred_at="0001-01-01T00:00:00Z"), "time_too_old", "occurred_at"),
    "far future": (
        b"v",
        _json(occurred_at="9999-12-31T23:59:59Z"),
        "time_in_future",
        "occurred_at",
    ),
    "empty text": (b"v", _json(text=" <br/> "), "no_text", "text"),
    "5 MB text": (b"v", _json(text=f"{SECRET} " * 330_000), "text_too_long", "text"),
}


def test_each_bad_record_is_one_dead_letter_and_the_rest_goes_on(
    broker: EmbeddedKafka, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    deployment = Deployment.on(broker)
    deployment.publish(MODEL)
    topics = deployment.settings.topics
    events = make_events(users=10, each=2 * len(BAD))
    expected = {}
    for number, (key, value, reason, field) in enumerate(BAD.values()):
        deployment.send_events(events[number * 20 : number * 20 + 20])
        timestamp = 1_700_000_000_000 + number
        [(partition, offset)] = deployment.send(topics.events, [(key, value)], timestamp=timestamp)
        headers = {
            "reason": reason,
            "field": field,
            "topic": topics.events,
            "partition": str(partition),
            "offset": str(offset),
            "timestamp": str(timestamp),
        }
        expected[partition, offset] = (key, value, headers)

    with LoopThread(stage_of(deployment), deployment.settings) as loop:
        until_caught_up(deployment, loop)

    letters = deployment.read(topics.dead_letters)
    found = {}
    for letter in letters:
        headers = {n.removeprefix(HEADER_PREFIX): v.decode() for n, v in letter.headers}
        assert SECRET not in headers.pop("detail")
        place = int(headers["partition"]), int(headers["offset"])
        found[place] = (letter.key, letter.value, headers)
    assert found == expected
    assert len(letters) == len(BAD)
    deployment.assert_equals_replay(EMBEDDER, MODEL)
    assert SECRET not in caplog.text


def test_too_many_bad_records_stop_the_worker_before_it_commits_them(
    broker: EmbeddedKafka,
) -> None:
    limit = DeadLetterSettings(max_share=0.3, min_records=50)
    deployment = Deployment.on(broker, dead_letters=limit)
    deployment.publish(MODEL)
    good = deployment.send_events(make_events(users=20, each=5))
    with LoopThread(stage_of(deployment), deployment.settings) as loop:
        until_caught_up(deployment, loop)
        deployment.send(deployment.settings.topics.events, [(b"v", b"{")] * 400)
        error = loop.failure()
    assert isinstance(error, DeadLetterLimitError)
    assert "dead_letters.max_share = 0.3" in str(error)
    # The bad batch that went over the limit left nothing: no offset, no dead letter.
    result = deployment.assert_sound()
    letters = deployment.read(deployment.settings.topics.dead_letters)
    assert result.counts.refused == len(letters) == deployment.committed() - good
    assert len(letters) / deployment.committed() <= 0.3


# --- models ---------------------------------------------------------------------------------


@pytest.fixture
def feed_of() -> Iterator[Any]:
    feeds: list[ModelFeed] = []

    def make(deployment: Deployment) -> ModelFeed:
        feeds.append(ModelFeed(deployment.settings))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


def unsettled_users(deployment: Deployment, model: SegmentModel) -> list[str]:
    """Give the users who, looked at again under the model, would move."""
    profiles = deployment.profiles()
    table = ProfileTable(EMBEDDER.dimensions, deployment.settings.profile.event_memory)
    for profile in profiles.values():
        table.load(profile)
    rows = table.gather(sorted(profiles))
    policy = deployment.settings.assignment.policy()
    rested = np.full(len(rows), policy.dwell_events)
    changed = decide(rows.vectors(), rows.segments, rows.events, rested, model, policy).changed
    return [rows.users[row] for row in np.flatnonzero(changed)]


def test_a_new_model_moves_all_users_without_an_event(broker: EmbeddedKafka, feed_of: Any) -> None:
    deployment = Deployment.on(broker, batch={"reassign_users": 7})
    turned = make_model(EMBEDDER, version=2, turned=1)
    stage = SegmentationStage(deployment.settings, EMBEDDER, feed_of(deployment))
    with LoopThread(stage, deployment.settings) as loop:
        deployment.send_events(make_events(users=40, each=3))
        until_caught_up(deployment, loop)
        assert deployment.changes() == []  # no model, no segment

        deployment.publish(MODEL)
        until(lambda: len(deployment.memberships()) == 40, "all have entered", alive=[loop])
        deployment.send_events(make_events(users=40, each=6, first=3))
        deployment.publish(turned)  # amid the events
        until_caught_up(deployment, loop)
        until(
            lambda: deployment.profiles() != {} and unsettled_users(deployment, turned) == [],
            "every user stands as the new model says",
            alive=[loop],
        )
        deployment.send_events(make_events(users=40, each=6, first=9))
        until_caught_up(deployment, loop)

    deployment.assert_sound()
    changes = deployment.changes()
    by_model = [c for c in changes if c.reason is ChangeReason.MODEL_UPDATE]
    assert {c.model.version for c in by_model} == {1, 2}
    assert {c.user_id for c in by_model if c.model.version == 1} == {f"u{n}" for n in range(40)}
    assert all(c.source is None and c.occurred_at is None for c in by_model)
    assert {c.model.version for c in changes if c.reason is ChangeReason.BEHAVIOUR} == {1, 2}
    versions: dict[str, int] = {}
    for change in sorted(changes, key=lambda c: (c.user_id, c.sequence)):
        assert change.model.version >= versions.get(change.user_id, 0)
        versions[change.user_id] = change.model.version


def models_on(deployment: Deployment) -> list[SegmentModel]:
    records = deployment.read(deployment.settings.topics.models)
    return [read_model(record.value or b"", "segment-models") for record in records]


def test_trainers_learn_restart_and_stand_in_for_each_other(
    broker: EmbeddedKafka, feed_of: Any
) -> None:
    training = TrainingSettings(segments=3, sample_users=60, warmup_users=20, idle_seconds=0.3)
    deployment = Deployment.on(broker, training=training)
    settings = deployment.settings

    def trainer() -> LoopThread:
        return LoopThread(TrainingStage(settings), settings, role="trainer")

    def taught(active: LoopThread, first: int) -> SegmentModel:
        """Send events that make the segments move; wait until the trainer has learned them."""
        before = max((model.version for model in models_on(deployment)), default=0)
        deployment.send_events(make_events(users=60, each=6, first=first))
        until_caught_up(deployment, worker)
        until(
            lambda: (
                active.stage.published is not None
                and active.stage.published.version > before
                and active.settled_down
                and active.stage.settled
            ),
            f"a model after version {before}",
            alive=[worker, active],
        )
        return models_on(deployment)[-1]

    stage = SegmentationStage(settings, EMBEDDER, feed_of(deployment))
    with LoopThread(stage, settings) as worker:
        with trainer() as one:
            first = taught(one, 0)
        assert first.version >= 1
        assert len(first.ids) == 3
        with trainer() as two:
            until(lambda: two.settled_down, "the trainer is back", alive=[two])
            assert two.stage.published.to_record() == first.to_record()
            second = taught(two, 6)
            with trainer() as three:
                until(
                    lambda: three.health.ready, "the second trainer stands by", alive=[two, three]
                )
                assert three.assigned == []
                assert three.stage.published is None
                two.stop()
                until(lambda: three.settled_down, "it takes over", alive=[three])
                assert three.stage.published.version >= second.version
                third = taught(three, 12)
        until(
            lambda: stage.model is not None and stage.model.version == third.version,
            "the worker follows the last model",
            alive=[worker],
        )
        until(lambda: stage.settled and worker.settled_down, "all re-assigned", alive=[worker])

    versions = [model.version for model in models_on(deployment)]
    assert versions == list(range(1, len(versions) + 1))
    assert first.version < second.version < third.version
    assert set(first.ids) & set(second.ids), "a restart must not name every segment anew"
    assert set(second.ids) & set(third.ids), "a takeover must not name every segment anew"
    result = deployment.assert_sound()
    assert result.counts.members == 60
