"""The demo's own model `words`, and what comes of the stream in Chinese with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.metrics import v_measure_score

from consumer.offline.files import read_records
from consumer.offline.replay import replay_file
from consumer.offline.texts import clean_texts
from consumer.settings import Settings
from consumer.tryout.demo.generate import StreamSettings
from consumer.tryout.demo.phrases import Language
from consumer.tryout.demo.stream import MadeUpStream
from consumer.tryout.demo.words import with_words
from models.embedding.making.fit_words import fit_words
from models.embedding.words.embedder import WordsEmbedder
from models.text import to_simplified
from models.text.traditional import _pairs

STREAM = MadeUpStream(
    StreamSettings(users=150, events_per_user=14, chinese=1.0, bad=0, repeated=0), Language.CHINESE
)

PAIRS = _pairs("STCharacters.txt")


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


def in_traditional(text: str) -> str:
    """Write a text in traditional characters, each in its commonest form."""
    return text.translate({ord(mark): ord(forms[0]) for mark, forms in PAIRS.items()})


def test_writers_of_both_scripts_are_in_one_segment_with_one_name(tmp_path: Path) -> None:
    stream = MadeUpStream(
        StreamSettings(users=90, events_per_user=14, chinese=1.0, shifted=0, bad=0, repeated=0),
        Language.CHINESE,
    )
    lines = []
    for record in stream.records():
        event = json.loads(record.value)
        if int(event["user_id"].removeprefix("u-")) % 2:
            spoken = {"text", "item_title"} & event.keys()
            event |= {name: in_traditional(event[name]) for name in spoken}
        lines.append(json.dumps(event))
    events = tmp_path / "events.jsonl"
    events.write_text("\n".join(lines))
    settings = Settings(embedding={"model": "words"})
    records = read_records(events, settings.topics.events, settings.events.intake())
    fit_words(clean_texts(records, settings, "the stream"), tmp_path / "words")
    with WordsEmbedder.load(tmp_path / "words") as embedder:
        replay_file(events, tmp_path / "out", settings, embedder)
    memberships = (tmp_path / "out" / "memberships.jsonl").read_text().splitlines()
    found = {line["user_id"]: line["segment"]["id"] for line in map(json.loads, memberships)}
    truth = stream.labels()
    assert v_measure_score([truth[user] for user in found], [*found.values()]) >= 0.85
    said = set()
    for line in (tmp_path / "out" / "segments.jsonl").read_text().splitlines():
        words = json.loads(line)["words"]
        # No word twice, in either script.
        folded = [word.translate(to_simplified()) for word in words]
        assert len(folded) == len(set(folded)) > 3
        said |= set(words)
    assert any(word != word.translate(to_simplified()) for word in said)


@pytest.mark.parametrize(
    "given", [{"model": "default"}, {"model": "words", "words": {"folder": "w"}}]
)
def test_another_model_or_one_that_is_named_is_left_as_it_is(tmp_path: Path, given) -> None:
    settings = Settings(embedding=given)
    assert with_words(settings, STREAM, tmp_path) is settings
    assert list(tmp_path.iterdir()) == []
