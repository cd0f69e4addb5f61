"""The stream that the demo makes up, against the contracts that it has to meet."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from consumer.tryout.demo.flaws import FLAWS
from consumer.tryout.demo.generate import (
    StreamRecord,
    StreamSettings,
    generate_events,
    generate_records,
    truth_of,
)
from consumer.tryout.demo.phrases import INTERESTS, Language, interests, shared
from consumer.tryout.demo.stream import MadeUpStream
from models.text import tokenize
from models.text.clean import clean
from schemas.dead_letters import RefusalReason
from schemas.events import EventType, UserEvent
from schemas.intake import RefusedError
from tests.schemas.intakes import an_intake

SMALL = StreamSettings(users=60, chinese=0.1, bad=0.05, repeated=0.05)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def refusal_of(record) -> RefusalReason | None:
    """Why a record is refused, by the intake or for want of words; None for a good one."""
    try:
        event = an_intake().read(record.value, record.key, NOW)
    except RefusedError as error:
        return error.refusal.reason
    words = clean(event.text or "") or clean(event.item_title or "")
    return None if words else RefusalReason.NO_TEXT


def digest(records) -> str:
    return hashlib.sha256(repr(list(records)).encode()).hexdigest()


def test_the_same_settings_give_the_same_bytes():
    assert digest(generate_records(SMALL)) == digest(generate_records(replace(SMALL)))
    assert digest(generate_records(SMALL)) != digest(generate_records(replace(SMALL, seed=8)))


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_with_another_hash_seed_gives_the_same_bytes(hash_seed):
    program = (
        "import hashlib\n"
        "from consumer.tryout.demo.generate import StreamSettings, generate_records\n"
        "records = generate_records(StreamSettings(users=20, bad=0.1, repeated=0.1))\n"
        "print(hashlib.sha256(repr(list(records)).encode()).hexdigest())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = digest(generate_records(StreamSettings(users=20, bad=0.1, repeated=0.1)))
    assert result.stdout.strip() == expected


def test_events_come_in_the_order_of_their_time_within_the_days_that_were_asked_for():
    stream = replace(SMALL, days=10, start=datetime(2026, 1, 1, tzinfo=UTC))
    times = [
        UserEvent.model_validate(event, strict=False).occurred_at
        for event in generate_events(stream)
    ]
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert stream.start <= times[0]
    assert times[-1] <= stream.start + timedelta(days=10)


def test_good_records_are_accepted_bad_ones_refused_and_the_truth_counts_them_exactly():
    truth = truth_of(SMALL)
    seen: set[tuple[bytes | None, bytes]] = set()
    good = repeated = 0
    refused: Counter[RefusalReason] = Counter()
    for record in generate_records(SMALL):
        reason = refusal_of(record)
        if reason is not None:
            refused[reason] += 1
        elif (record.key, record.value) in seen:
            repeated += 1
        else:
            seen.add((record.key, record.value))
            good += 1
    assert (good, repeated, dict(refused)) == (truth.good, truth.repeated, dict(truth.refused))
    assert truth.bad == round(0.05 * good)
    assert repeated == round(0.05 * good)
    assert truth.records == good + repeated + truth.bad


def test_every_kind_of_flaw_is_refused_for_its_own_reason():
    events = list(generate_events(SMALL))
    for flaw in FLAWS:
        for event in events[:200]:
            assert refusal_of(StreamRecord(*flaw.make(event), timestamp=0)) is flaw.reason


def test_a_repeat_comes_after_its_original_and_soon():
    records = [(record.key, record.value) for record in generate_records(SMALL)]
    places: dict[object, list[int]] = {}
    for place, record in enumerate(records):
        places.setdefault(record, []).append(place)
    gaps = [found[1] - found[0] for found in places.values() if len(found) == 2]
    assert len(gaps) == truth_of(SMALL).repeated
    assert max(map(len, places.values())) == 2
    assert 0 < min(gaps) <= max(gaps) <= 30


def test_event_ids_are_unique_among_the_good_and_never_those_of_bad_records():
    ids = [event["event_id"] for event in generate_events(SMALL)]
    assert len(ids) == len(set(ids))
    assert not any(event_id.startswith("bad-") for event_id in ids)


def test_record_timestamps_never_go_back():
    stamps = [record.timestamp for record in generate_records(SMALL)]
    assert stamps == sorted(stamps)
    assert stamps[0] >= SMALL.start.timestamp() * 1000


def test_labels_follow_the_truth_before_and_after_the_shift():
    truth = truth_of(SMALL)
    labels: dict[str, list[str]] = {}
    for event in generate_events(SMALL):
        user, time = event["user_id"], datetime.fromisoformat(event["occurred_at"])
        labels.setdefault(user, []).append(event["label"])
        shift = truth.shifted_at.get(user)
        # The event's time is written in milliseconds.
        past = shift is not None and time >= shift - timedelta(milliseconds=1)
        assert event["label"] == (truth.final if past else truth.first)[user]
    assert labels.keys() == truth.final.keys()
    changed = {user for user, own in labels.items() if len(set(own)) > 1}
    assert changed == truth.shifted_at.keys()
    assert len(changed) == round(SMALL.shifted * SMALL.users)


def test_most_of_what_a_user_writes_is_about_the_label():
    titles = {
        title: interest.name
        for interest in interests()
        for voice in (interest.english, interest.chinese)
        for family in voice.families
        for title, _ in family.items
    }
    about = [
        titles[event["item_title"]] == event["label"]
        for event in generate_events()
        if "item_title" in event
    ]
    assert 0.88 < sum(about) / len(about) < 0.96


def test_texts_are_rarely_the_same_and_of_the_length_of_a_comment():
    texts = [event["text"] for event in generate_events() if "text" in event]
    assert len(set(texts)) > 0.9 * len(texts)
    words = sorted(len(text.split()) for text in texts if text.isascii())
    assert words[len(words) // 10] >= 8
    assert words[len(words) * 9 // 10] <= 40


def test_every_kind_of_event_occurs_with_the_fields_that_it_needs():
    with_text = {EventType.REVIEW, EventType.COMMENT, EventType.QUESTION, EventType.ANSWER}
    kinds: Counter[str] = Counter()
    for event in generate_events():
        kinds[event["type"]] += 1
        assert ("text" in event) == (event["type"] in with_text)
        assert "text" in event or "item_title" in event
        assert ("rating" in event) == (event["type"] in {EventType.REVIEW, EventType.RATING})
    assert set(kinds) == set(EventType)


def test_the_share_of_users_who_write_chinese_do_and_the_others_never_do():
    truth = truth_of(SMALL)
    assert Counter(truth.languages.values())[Language.CHINESE] == 6
    for event in generate_events(SMALL):
        words = event.get("text", "") + event.get("item_title", "")
        has_han = re.search(r"[\u4e00-\u9fff]", words) is not None
        assert has_han == (truth.languages[event["user_id"]] is Language.CHINESE)
        assert event.get("language") in {None, truth.languages[event["user_id"]].value}


def test_a_stream_in_chinese_has_nobody_who_writes_english_and_all_of_them_count():
    chinese, english = (MadeUpStream.of(Language(code), 30) for code in ("zh", "en"))
    said = [event["text"] for event in generate_events(chinese.settings) if "text" in event]
    assert all(re.search(r"[\u4e00-\u9fff]", text) for text in said)
    assert len(chinese.labels()) == 30
    assert "Chinese" in chinese.against
    assert english.settings == StreamSettings(users=30)


def test_interests_in_chinese_share_words_and_none_is_told_by_one_alone():
    """What makes the stream more than a list of subjects: words of one interest are in others."""
    cut = {
        interest.name: {
            word
            for lines in (
                interest.chinese.scenes,
                interest.chinese.comments,
                interest.chinese.questions,
                *(family.praise for family in interest.chinese.families),
                *(family.complaints for family in interest.chinese.families),
            )
            for line in lines
            for word in tokenize(clean(line.replace("{item}", "")), "zh")
        }
        for interest in interests()
    }
    for name, own in cut.items():
        others = set().union(*(words for other, words in cut.items() if other != name))
        assert 0.2 < len(own & others) / len(own) < 0.75, name


def test_a_user_is_the_same_however_many_others_there_are():
    alone = replace(SMALL, users=5, shifted=0, chinese=0)
    crowd = replace(alone, users=60)
    few = {event["user_id"] for event in generate_events(alone)}
    same = [event for event in generate_events(crowd) if event["user_id"] in few]
    assert same == list(generate_events(alone))


@settings(max_examples=25, deadline=None)
@given(
    users=st.integers(1, 30),
    events=st.integers(2, 8),
    kinds=st.integers(2, INTERESTS),
    bad=st.floats(0, 1),
    repeated=st.floats(0, 1),
    shifted=st.floats(0, 1),
)
def test_whatever_the_settings_the_truth_adds_up(users, events, kinds, bad, repeated, shifted):
    stream = StreamSettings(
        users=users,
        events_per_user=events,
        interests=kinds,
        bad=bad,
        repeated=repeated,
        shifted=shifted,
    )
    truth = truth_of(stream)
    records = list(generate_records(stream))
    assert len(records) == truth.records == truth.good + truth.repeated + truth.bad
    assert len(list(generate_events(stream))) == truth.good
    assert len(truth.final) == users
    known = {interest.name for interest in interests()[:kinds]}
    assert {*truth.first.values(), *truth.final.values()} <= known
    assert all(json.loads(json.dumps(event)) == event for event in generate_events(stream))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"users": 0}, "users"),
        ({"interests": INTERESTS + 1}, "interests"),
        ({"interests": 1}, "interests"),
        ({"events_per_user": 1}, "events_per_user"),
        ({"shifted": 1.5}, "shifted"),
        ({"bad": -0.1}, "bad"),
        ({"repeated": float("nan")}, "repeated"),
        ({"start": datetime(2026, 1, 1)}, "start"),  # noqa: DTZ001
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(changes, field):
    with pytest.raises(ValidationError, match=rf"\n{field}\n"):
        StreamSettings(**changes)


def test_every_slot_of_every_pattern_is_known():
    slots = {
        "item", "praise", "praise2", "complaint", "scene", "span", "closer", "question", "answer",
        "comment", "reply",
    }  # fmt: skip
    assert len(interests()) == INTERESTS
    for patterns in (shared().english, shared().chinese):
        for name, lines in patterns:
            for line in lines:
                found = set(re.findall(r"\{(\w*)\}", line))
                assert found <= slots, (name, line)
                assert name != "chatter" or found <= {"span", "closer"}, line
    for interest in interests():
        for voice in (interest.english, interest.chinese):
            assert all("{item}" in question for question in voice.questions)
