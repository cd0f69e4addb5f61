"""The page of a running group: what its topics hold, on a real Kafka."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from confluent_kafka import Producer

from consumer.cli import main as cli
from consumer.kafka.clients import sender_config
from consumer.offline.files import read_records
from consumer.offline.replay import EVENTS_AT_ONCE, Replay
from consumer.page.folder import gather_folder
from consumer.page.topics import TopicsReader
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from tests.consumer.kafka_runs import settings_for
from tests.consumer.page.replayed import SETTINGS, replayed, stream
from tests.consumer.page.test_page import Reader, one_spaced
from tests.consumer.stages.stage_data import EMBEDDER, NOW
from tests.consumer.status.test_status import flags


@pytest.fixture(scope="module")
def group(broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """Topics that hold what a replay wrote, samples among it, and that replay's folder."""
    folder = tmp_path_factory.mktemp("topics")
    events, _ = replayed(folder)
    # Batches as the replay cuts them.
    settings = settings_for(
        broker.bootstrap_servers, **SETTINGS, batch={"max_records": EVENTS_AT_ONCE}
    )
    producer = Producer(sender_config(settings.kafka))
    run = Replay(settings, EMBEDDER, now=NOW)
    assert run.training is not None
    # All that the stages write, where a worker and a trainer would write it.
    for stage in (run.segmentation, run.training):
        for name in ("apply", "maintain"):
            inner = getattr(stage, name)

            def told(*args, inner=inner, **more):  # type: ignore[no-untyped-def]
                outputs = inner(*args, **more)
                for output in outputs or ():
                    producer.produce(
                        output.topic, output.value, output.key, headers=list(output.headers or ())
                    )
                    producer.poll(0)
                return outputs

            object.__setattr__(stage, name, told)
    for record in read_records(events, settings.topics.events, settings.events.intake()):
        producer.produce(record.topic, record.value, record.key)
    run.run(
        read_records(events, settings.topics.events, settings.events.intake()), lambda _output: None
    )
    # A segment that is no more, and a record of a later version's, beside what leads in those of
    # today.
    topic = settings.topics.segment_recommendations
    producer.produce(topic, b'{"segment": 77}', b"77")
    producer.produce(topic, None, b"77")
    producer.produce(topic, b'{"of": "a later version"}', b"others")
    for line in (folder / "out" / "segment-recommendations.jsonl").read_bytes().splitlines():
        segment = json.loads(line)["segment"]
        producer.produce(topic, line, b"all" if segment is None else b"%d" % segment)
    assert producer.flush(60) == 0
    return settings, folder / "out"


def test_topics_tell_what_the_folder_of_a_replay_tells(group: tuple[Settings, Path]) -> None:
    settings, folder = group
    live, offline = TopicsReader(settings).gather(), gather_folder(folder)
    assert live.users.ids == offline.users.ids
    assert live.users.segments.tolist() == offline.users.segments.tolist()
    assert live.users.events.tolist() == offline.users.events.tolist()
    assert live.model == offline.model
    assert sorted(live.changes) == sorted(offline.changes)
    assert live.counts == offline.counts
    assert live.refused == offline.refused
    assert {(e.version, e.segment, e.type) for e in live.lifecycle} == {
        (e.version, e.segment, e.type) for e in offline.lifecycle
    }
    assert live.recommendations == offline.recommendations
    assert live.recommendations.keys() == {None, 0, 1}
    assert live.details is not None
    assert offline.details is not None
    assert live.details.drift is not None
    assert live.details.drift == offline.details.drift


def test_the_command_reads_the_topics_and_the_latest_events(
    group: tuple[Settings, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("consumer.page.render.vega_script", lambda: "")
    monkeypatch.setattr("consumer.wiring.embedder.load_embedder", lambda _: EMBEDDER)
    output = tmp_path / "page.html"
    words = [*flags(group[0]), "--output", str(output), "--report.texts", "true", "--label", "site"]
    words += ["--drift.users", "20", "--drift.min-users", "20", "--training.sample-users", "60"]
    assert cli.main(["report", *words]) == 0, capsys.readouterr().err
    page = Reader(output.read_text(encoding="utf-8"))
    text = one_spaced(page.text)
    assert f"the group {group[0].kafka.group_id}, as of" in text
    assert page.tags["blockquote"] >= 6
    assert "Types, languages, lengths and ratings are of the latest 200,000 records." in text
    assert "the field site of the events" in text
    assert re.search(r"ratings?: mean [1-5]", text)
    charts = json.loads(page.scripts[0])
    assert len(charts["map"]["data"]["values"]) == len({each["user_id"] for each in stream()})


def test_topics_that_are_not_there_are_told_in_a_sentence(
    broker: EmbeddedKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--kafka.bootstrap-servers", broker.bootstrap_servers, "--topics.prefix", "nobody-"]
    assert cli.main(["report", *words]) == 3
    assert "there is no topic nobody-" in capsys.readouterr().err.replace("\n", " ")
