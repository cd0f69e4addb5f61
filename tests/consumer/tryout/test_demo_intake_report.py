"""What the demo says of a file whose records are refused, and of one that makes no segments."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from consumer.contract.records import Record
from consumer.offline.produce import Sent
from consumer.settings import Settings
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from consumer.tryout.demo import collect, run
from consumer.tryout.demo.contents import Timing
from consumer.tryout.demo.generate import StreamSettings
from consumer.tryout.demo.intake_report import intake_report
from consumer.tryout.demo.stream import FileStream, MadeUpStream
from tests.consumer.stages.stage_data import EMBEDDER, NOW, TOPICS, event, records

# As the demo has it: what was refused is looked at for a hint.
SETTINGS = Settings(training={"segments": 4}, dead_letters={"values": True})


@pytest.fixture
def stream(tmp_path: Path) -> FileStream:
    path = tmp_path / "events.jsonl"
    lines = [event(f"u{n}", n, TOPICS[n % 2], language="de") for n in range(30)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return FileStream(path, SETTINGS.events.intake())


@pytest.fixture
def topics(monkeypatch):
    """What the topics hold, by name."""
    held: dict[str, list[Record]] = {}

    def read_topic(_settings: Settings, topic: str) -> list[Record]:
        return held.get(topic, [])

    monkeypatch.setattr(collect, "read_topic", read_topic)
    return held


def worked(events: list[dict]) -> dict[str, list[Record]]:
    """Give the topics as a worker leaves them."""
    stage = SegmentationStage(SETTINGS, EMBEDDER, FixedModel(), intake_clock=lambda: NOW)
    stage.assigned(0, stage.restoration(0))
    held: dict[str, list[Record]] = {}
    for output in stage.apply(stage.prepare(records(events)), frozenset({0})):
        log = held.setdefault(output.topic, [])
        log.append(
            Record(output.topic, 0, len(log), 0, output.key, output.value, tuple(output.headers))
        )
    return held


def without_type(count: int) -> list[dict]:
    return [
        {name: value for name, value in event(f"u{n}", n).items() if name != "type"}
        for n in range(count)
    ]


def reported(stream, **sent: int) -> list[str]:
    refusals = collect.read_refusals(SETTINGS)
    return intake_report(SETTINGS, stream, EMBEDDER, refusals=refusals, sent=Sent(**sent), now=NOW)


def test_reasons_are_told_with_the_place_on_the_topic_and_a_hint(stream, topics):
    topics.update(worked(without_type(3)))
    told = reported(stream)
    assert told[:2] == [
        "Refused:",
        "  3 missing_field (type), first at user-events, offset 0: field type is missing",
    ]
    assert "events.mapping.constants" in told[2]


def test_the_flaws_of_a_made_up_stream_are_not_told(topics):
    topics.update(worked(without_type(3)))
    made_up = MadeUpStream(StreamSettings(users=20))
    assert reported(made_up) == []


def test_an_event_that_is_too_large_to_be_sent_is_told_and_the_others_go_on(stream, topics):
    (told,) = reported(stream, sent=29, too_large=1, first_too_large=7)
    assert told == ("1 were not sent, being larger than the client takes: the first is event 7")


def test_texts_that_the_model_does_not_read_are_told(stream, topics, monkeypatch):
    monkeypatch.setattr(
        type(EMBEDDER), "manifest", SimpleNamespace(name="small", reads=("en",)), raising=False
    )
    (told,) = reported(stream)
    assert told.startswith("Warning: 100% of the texts are in languages that small does not read")


def gathered(stream) -> None:
    collect.collect(
        SETTINGS,
        stream,
        EMBEDDER,
        collect.read_refusals(SETTINGS),
        Timing(1.0),
        model=None,
        now=NOW,
        paths={},
    )


def test_too_few_users_say_how_many_are_needed(stream, topics):
    topics.update(worked([event(f"u{n}", n) for n in range(3)]))
    with pytest.raises(collect.NothingToReportError, match=r"needs 8 users .* there are 3"):
        gathered(stream)


def test_where_nothing_was_accepted_that_is_said(stream, topics):
    topics.update(worked(without_type(3)))
    with pytest.raises(
        collect.NothingToReportError, match=r"none of the events of .* was accepted"
    ):
        gathered(stream)


def test_the_client_that_asks_for_the_groups_offsets_is_closed(stream, tmp_path, monkeypatch):
    closed = []
    asker = SimpleNamespace(close=lambda: closed.append(True))
    monkeypatch.setattr(run, "Consumer", lambda _: asker)
    monkeypatch.setattr(run, "partition_counts", lambda _, topics: dict.fromkeys(topics, 1))
    demo = run._Run(
        SETTINGS, stream, output=tmp_path, model=None, workers=1, console=Console(quiet=True)
    )
    demo.close()
    assert closed == [True]
