"""The demo's own model `words`, and what comes of the stream in Chinese with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.metrics import v_measure_score

from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.tryout.demo.generate import StreamSettings
from consumer.tryout.demo.phrases import Language
from consumer.tryout.demo.stream import MadeUpStream
from consumer.tryout.demo.words import with_words
from models.embedding.words.embedder import WordsEmbedder

STREAM = MadeUpStream(
    StreamSettings(users=150, events_per_user=14, chinese=1.0, bad=0, repeated=0), Language.CHINESE
)


def test_interests_of_chinese_writers_are_found_by_their_words(tmp_path: Path) -> None:
    settings = with_words(Settings(embedding={"model": "words"}), STREAM, tmp_path)
    assert settings.embedding.words.folder == tmp_path / "words"
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(record.value for record in STREAM.records()))
    with WordsEmbedder.load(tmp_path / "words") as embedder:
        replay_file(events, tmp_path / "out", settings, embedder)
    lines = (tmp_path / "out" / "memberships.jsonl").read_text().splitlines()
    found = {line["user_id"]: line["segment"]["id"] for line in map(json.loads, lines)}
    truth = STREAM.labels()
    assert found.keys() == truth.keys()
    assert v_measure_score([truth[user] for user in found], [*found.values()]) >= 0.85


@pytest.mark.parametrize(
    "given", [{"model": "default"}, {"model": "words", "words": {"folder": "w"}}]
)
def test_another_model_or_one_that_is_named_is_left_as_it_is(tmp_path: Path, given) -> None:
    settings = Settings(embedding=given)
    assert with_words(settings, STREAM, tmp_path) is settings
    assert list(tmp_path.iterdir()) == []
