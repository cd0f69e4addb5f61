"""`segmenter reset` on a real Kafka."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.cli import main as cli
from consumer.doctor.examine import examine
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.offset_metadata import OffsetMetadata
from consumer.reset.run import Reset
from consumer.reset.target import Target
from consumer.settings import Settings
from consumer.state.positions import UnfinishedResetError
from consumer.status.gather import Gatherer
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import verify_topics
from schemas.profiles import ProfileRecord
from schemas.states import read_profile
from tests.consumer.kafka_runs import (
    PARTITIONS,
    TOPICS,
    Pair,
    changes_of,
    committed,
    event,
    model_of,
    placeless,
    produce,
    replayed,
    settings_for,
    stream,
    until,
    worker,
)
from tests.consumer.status.test_status import flags
from tests.stubs import HashingEmbedder

_STANDING = {
    *("segment", "segment_label", "segment_since_event", "sequence", "model_version", "labels"),
}
Run = Callable[..., str]


@pytest.fixture
def settings(broker: EmbeddedKafka, tmp_path: Path) -> Settings:
    restore = {"checkpoint_dir": tmp_path / "checkpoints", "checkpoint_seconds": 1}
    return settings_for(broker.bootstrap_servers, restore=restore, assignment={"dwell_events": 1})


@pytest.fixture
def command(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, code: int = 0) -> str:
        given = ["reset", *flags(settings), "--kafka.session-timeout-seconds", "6", *words]
        assert cli.main(given) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def turning(users: int, events: int = 20) -> list[Pair]:
    """Events of users who change their interest early, so that each is in two segments."""
    texts = list(TOPICS.values())
    return [
        event(f"u{user}", number, texts[(user + (number >= 5)) % 2])
        for number in range(events)
        for user in range(users)
    ]


def profiles(settings: Settings) -> dict[str, ProfileRecord]:
    found: dict[str, ProfileRecord] = {}
    for record in read_topic(settings, settings.topics.profiles):
        user = (record.key or b"").decode()
        if record.value is None:
            found.pop(user, None)
        else:
            found[user] = read_profile(record.key or b"", record.value)
    return found


def learned(record: ProfileRecord) -> dict[str, object]:
    return placeless(record).model_dump(exclude=_STANDING)


def read_up(settings: Settings, records: int) -> None:
    with worker(settings) as (_, stage):
        until(lambda: committed(settings) == records)
        assert stage.tables


def metadata(settings: Settings) -> list[OffsetMetadata]:
    places = Cluster(settings.kafka).committed(
        settings.kafka.group_id, settings.topics.events, range(PARTITIONS)
    )
    return [OffsetMetadata.read(each.metadata) for each in places]


def test_a_group_reads_its_input_again_and_chains_go_on(settings: Settings, command: Run) -> None:
    pairs = turning(12)
    produce(settings, pairs)
    read_up(settings, len(pairs))
    before, told = profiles(settings), changes_of(settings)
    assert list((settings.restore.checkpoint_dir or Path()).iterdir())

    said = command("--to-earliest")
    assert f"{len(pairs):,} offsets are read again, 0 are passed over" in said
    assert "the profiles of 12 users are emptied" in said
    assert "nothing was done: --execute does it" in said
    assert (committed(settings), profiles(settings)) == (len(pairs), before)

    assert "done: start the workers" in command("--execute")
    assert committed(settings) == 0
    assert {each.resets for each in metadata(settings)} == {1}
    assert not any(each.resetting for each in metadata(settings))
    assert list(read_topic(settings, settings.topics.samples))[-1].value is None
    emptied = profiles(settings)
    assert {user: each.sequence for user, each in emptied.items()} == {
        user: each.sequence for user, each in before.items()
    }
    assert {each.events for each in emptied.values()} == {0}
    assert changes_of(settings) == told

    # By checkpoints of before the reset, and what the changelog has behind them.
    read_up(settings, len(pairs))
    after = profiles(settings)
    assert {user: learned(each) for user, each in after.items()} == {
        user: learned(each) for user, each in before.items()
    }
    assert {user: each.segment for user, each in after.items()} == {
        user: each.segment for user, each in before.items()
    }
    known = {change.id for change in told}
    fresh = [change for change in changes_of(settings) if change.id not in known]
    assert len(fresh) == len(told) == 24  # back to the first interest, and to the second again
    assert {change.sequence for change in fresh} == {3, 4}
    result = verify_topics(settings)
    assert result.exit_code == 0, result.render()
    assert any("the group was reset once" in note for note in result.notes)
    assert any("or the group was reset" in each for each in result.unchecked)


def test_a_reset_that_was_killed_keeps_workers_out_until_it_is_done(
    settings: Settings, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = stream(12, 6)
    produce(settings, pairs)
    read_up(settings, len(pairs))
    before = profiles(settings)

    class Killed(BaseException):
        pass

    def kill(_size: int) -> None:
        raise Killed

    reset = Reset(settings.changed("batch", reassign_users=2), Target())
    plan = reset.look()
    with pytest.raises(Killed):
        reset.run(plan, kill)
    assert {each.events for each in profiles(settings).values()} != {0}
    assert all(each.resetting for each in metadata(settings))
    with worker(settings) as (running, _):
        until(lambda: running.error is not None)
        assert isinstance(running.error, UnfinishedResetError)
        assert "run 'segmenter reset --execute' again" in str(running.error)
    assert committed(settings) == len(pairs)
    assert "an earlier reset has not come to its end" in command()
    attention = "was begun and is not done: no worker starts"
    gatherer = Gatherer(settings)
    assert any(attention in line for line in gatherer.gather(0.01).attention)
    examined = examine(settings, "worker", 20, lambda _: HashingEmbedder())
    (told,) = (each for each in examined.findings if each.check == "reset")
    assert (told.state, examined.exit_code) == ("failed", 1)
    command("--execute")
    examined = examine(settings, "worker", 20, lambda _: HashingEmbedder())
    assert not any(each.check == "reset" for each in examined.findings)
    assert not any(attention in line for line in gatherer.gather(0.01).attention)
    assert {each.events for each in profiles(settings).values()} == {0}
    read_up(settings, len(pairs))
    assert {user: learned(each) for user, each in profiles(settings).items()} == {
        user: learned(each) for user, each in before.items()
    }


def test_a_group_at_work_is_not_reset(settings: Settings, command: Run) -> None:
    pairs = stream(2, 2)
    produce(settings, pairs)
    with worker(settings):
        until(lambda: committed(settings) == len(pairs))
        assert "in the way: group" in command()
        said = command("--execute", code=3)
        assert "still has 1 member" in said
        assert committed(settings) == len(pairs)


def test_a_group_goes_where_it_is_told(settings: Settings, command: Run) -> None:
    pairs = stream(4, 6)
    produce(settings, pairs)
    read_up(settings, len(pairs))
    assert f"0 offsets are read again, {0} are passed over" in command("--to-latest", "--execute")
    assert committed(settings) == len(pairs)
    command("--shift-by", "-1", "--execute")
    assert committed(settings) == len(pairs) - sum(
        Cluster(settings.kafka).end(settings.topics.events, n) > 0 for n in range(PARTITIONS)
    )
    command("--by-duration", "P1D", "--execute")
    assert committed(settings) == 0
    assert {each.resets for each in metadata(settings)} == {3}
    assert "say different things" in command("--to-latest", "--to-earliest", code=2)
    assert "no duration" in command("--by-duration", "1 day", code=2)
    embedder = HashingEmbedder()
    replay, _ = replayed(settings, pairs, embedder, model_of(embedder))
    read_up(settings, len(pairs))
    table = replay.segmentation.tables[0]
    for user, found in profiles(settings).items():
        wanted = table.gather([user]).to_record(0, embedder.identity)
        assert learned(found) == learned(wanted)
