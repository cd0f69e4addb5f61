"""The way of an event through the workers' stage, with no broker."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.stages.shared.dead_letters import DeadLetterLimitError
from models.profiles.sample import rank
from models.profiles.table import ProfileTable
from models.segments.confidence import confidence
from models.segments.history import History
from models.segments.model import SegmentModel
from schemas.arrays import decode_array, encode_array
from schemas.changes import (
    ChangeCause,
    ChangeReason,
    ChangeStatus,
    SegmentChange,
    cloudevents_headers,
)
from schemas.dead_letters import redrive_headers
from schemas.lifecycle import RetiredSegment
from schemas.profiles import ProfileRecord
from schemas.samples import read_sample
from schemas.segment_model import NO_SEGMENT
from tests.consumer.stages.stage_data import (
    EMBEDDER,
    NOW,
    TOPICS,
    Worker,
    a_model,
    changes_in,
    event,
    of,
    records,
    turned,
)
from tests.stubs import FailingEmbedder

MIXED = (TOPICS[0], TOPICS[1], "hops malt photon", "particle physics of barley")
FREE = {"dwell_events": 0}
ANY_SHARE = {"max_share": 1}


def profile_of(worker: Worker, user: str) -> ProfileRecord:
    return ProfileRecord.model_validate_json(worker.state()[user])


def headers(output) -> dict[str, str]:
    return {name: value.decode() for name, value in output.headers}


# --- batches --------------------------------------------------------------------------------------


@st.composite
def streams(draw):
    """Events of a few users in any order of time, some of them twice."""
    drawn = draw(
        st.lists(
            st.tuples(
                st.sampled_from("abcde"),
                st.integers(0, 12),
                st.sampled_from(MIXED),
                st.sampled_from(["review", "rating", "click"]),
            ),
            min_size=1,
            max_size=40,
        )
    )
    return records(event(user, n, text, type=kind) for user, n, text, kind in drawn)


def without_shares(outputs):
    """Give keys and values of changes, and of these all but what makes their margins."""
    found = []
    for output in outputs:
        value = json.loads(output.value)
        value.pop("shares", None)
        found.append((output.key, value))
    return found


@settings(max_examples=60, deadline=None)
@given(streams(), st.lists(st.integers(1, 15), min_size=1, max_size=40))
def test_how_records_are_cut_into_batches_changes_nothing(stream, sizes):
    at_once, one_by_one, cut = (
        Worker(a_model(), assignment={"dwell_events": 1, "margin_share": 0.01}) for _ in range(3)
    )
    whole = at_once.run(stream)
    single = [output for record in stream for output in one_by_one.run([record])]
    parts, rest, turn = [], stream, 0
    while rest:
        size = sizes[turn % len(sizes)]
        parts += cut.run(rest[:size])
        rest, turn = rest[size:], turn + 1
    for other in (single, parts):
        for topic in ("segment-changes", "segment-memberships"):
            # Which events are named hangs on the batch: they are those of its own transaction.
            assert without_shares(of(other, topic)) == without_shares(of(whole, topic))
    assert at_once.state() == one_by_one.state() == cut.state()
    assert at_once.stage.stats == one_by_one.stage.stats == cut.stage.stats


@settings(max_examples=30, deadline=None)
@given(streams())
def test_a_partition_read_back_from_its_changelog_is_the_one_that_was_held(stream):
    half = len(stream) // 2
    held = Worker(a_model(), assignment=FREE)
    written = of(held.run(stream[:half]), "user-profiles") if half else []
    other = Worker(a_model(), partitions=(), assignment=FREE)
    restoration = other.stage.restoration(0)
    for offset, output in enumerate(written):
        restoration.load(Record(output.topic, 0, offset, -1, output.key, output.value))
    other.stage.assigned(0, restoration)
    assert other.maintain() == []
    assert other.state() == held.state()
    assert other.run(stream[half:]) == held.run(stream[half:])


# --- one event ------------------------------------------------------------------------------------


def test_a_repeated_event_id_counts_once_and_is_counted_as_a_repeat():
    worker = Worker(a_model())
    first = event("u", 1)
    worker.run(records([first, first]))
    worker.run(records([first, event("u", 2)]))
    assert (profile_of(worker, "u").events, profile_of(worker, "u").repeats) == (2, 2)
    assert worker.stage.stats.repeated == 2
    assert worker.stage.stats.accepted == Counter({"review": 2})
    assert worker.stage.stats.languages == Counter({"en": 2})


def test_a_repeat_of_a_later_time_than_all_before_is_counted_as_an_edit():
    worker = Worker(a_model())
    first = event("u", 1)
    worker.run(records([first, first, event("v", 1)]))
    assert worker.stage.stats.edited == 0
    later = event("u", 2, TOPICS[1])["occurred_at"]
    before = profile_of(worker, "u")
    worker.run(records([{**first, "text": TOPICS[1], "occurred_at": later}]))
    assert (worker.stage.stats.repeated, worker.stage.stats.edited) == (2, 1)
    assert profile_of(worker, "u") == before.model_copy(update={"repeats": 2})
    # A copy of an event that is not the latest is no edit, nor is a new event of a later time.
    worker.run(records([event("u", 3), first]))
    assert worker.stage.stats.edited == 1


def test_values_left_out_are_counted_by_field_and_the_events_count():
    worker = Worker(a_model())
    good, bad = event("u", 1, rating="5.0"), event("u", 2, rating="n/a", language=7, item_id=["i"])
    worker.apply(records([good, bad, event("v", 1, rating="??")]))
    assert worker.stage.stats.left_out == Counter()
    worker.stage.committed()
    assert worker.stage.stats.left_out == Counter({"rating": 2, "language": 1, "item_id": 1})
    assert worker.stage.stats.accepted == Counter({"review": 3})


def test_the_same_event_id_of_another_user_is_another_event():
    worker = Worker(a_model())
    worker.run(records([event("u", 1, event_id="e"), event("v", 1, event_id="e")]))
    assert worker.stage.stats.repeated == 0


@pytest.mark.parametrize(
    "text", [None, "", "  \n ", "<p></p>", "5", "10/10 !!!", "\u2764 👍", "[b]7[/b]"]
)
def test_a_title_stands_in_where_there_is_no_text(text):
    with_title, with_text = Worker(), Worker()
    with_title.run(records([event("u", 1, text, item_title="malt and hops")]))
    with_text.run(records([event("u", 1, "malt and hops")]))
    assert with_title.state() == with_text.state()


@pytest.mark.parametrize("text", ["5", "…", "10/10", "👍🏽👍🏽", "٣", "<br>7"])
@pytest.mark.parametrize("title", [None, "", "#1"])
def test_a_text_without_a_letter_holds_no_words(text, title):
    worker = Worker(dead_letters=ANY_SHARE)
    outputs = worker.run(records([event("u", 1, text, item_title=title)]))
    assert [headers(output)["dlq_reason"] for output in outputs] == ["no_text"]
    assert worker.stage.stats.accepted == Counter()


@pytest.mark.parametrize("text", ["ok", "好", "ไ", "A+", "x"])
def test_one_letter_of_any_script_is_enough_to_count(text):
    worker = Worker()
    worker.run(records([event("u", 1, text)]))
    assert worker.stage.stats.accepted == Counter({"review": 1})


def test_a_title_is_not_looked_at_where_there_is_a_text():
    with_title, without = Worker(), Worker()
    with_title.run(records([event("u", 1, "malt", item_title="photon")]))
    without.run(records([event("u", 1, "malt")]))
    assert with_title.state() == without.state()


def test_events_of_a_lighter_type_move_a_profile_less():
    worker = Worker(events={"weights": {"review": 2.0, "click": 0.25}})
    worker.run(
        records(
            [
                event("u", 1, "hops"),
                event("v", 1, "hops", type="click"),
                event("w", 1, "hops"),
                event("w", 1, "malt", type="click", event_id="other"),
            ]
        )
    )
    assert profile_of(worker, "u").weight == 2.0
    assert profile_of(worker, "v").weight == 0.25
    hops, malt = EMBEDDER.embed(["hops", "malt"])
    np.testing.assert_array_equal(
        decode_array(profile_of(worker, "w").vector, "<f4"), 2 * hops + malt / 4
    )


def test_outputs_come_as_dead_letters_changes_in_input_order_state_samples():
    worker = Worker(a_model())
    bad = replace(records([event("x", 1)])[0], offset=9, key=None)
    outputs = worker.run([*records([event("b", 1), event("a", 1, TOPICS[1])]), bad])
    pair = ["segment-changes", "segment-memberships"]
    expected = ["user-events.dlq", *pair, *pair]
    expected += ["user-profiles"] * 2 + ["profile-samples"] * 2
    assert [output.topic for output in outputs] == expected
    assert [change.user_id for change in changes_in(outputs)] == ["b", "a"]


def test_a_membership_is_the_change_byte_for_byte_with_the_same_headers():
    outputs = Worker(a_model()).run(records([event("u", 1)]))
    (change,), (membership,) = of(outputs, "segment-changes"), of(outputs, "segment-memberships")
    assert (change.key, change.value, change.headers) == (
        membership.key,
        membership.value,
        membership.headers,
    )
    assert headers(change)["ce_source"] == "segmenter"


def test_a_changelog_record_goes_to_the_partition_its_event_came_from():
    worker = Worker(partitions=(3, 5))
    outputs = worker.run([*records([event("u", 1)], 3), *records([event("v", 1)], 5)])
    places = {output.key: output.partition for output in of(outputs, "user-profiles")}
    assert places == {b"u": 3, b"v": 5}


def test_only_records_of_the_given_partitions_are_applied():
    worker = Worker(a_model(), partitions=(0,), dead_letters=ANY_SHARE)
    stray = replace(records([event("x", 1)], 1)[0], value=None)
    outputs = worker.apply(
        [*records([event("u", 1)]), *records([event("v", 1)], 1), stray], frozenset({0})
    )
    worker.stage.committed()
    assert {output.key for output in outputs} == {b"u"}
    assert [*worker.state()] == ["u"]
    assert not worker.stage.stats.refused


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "key", "reason", "field"),
    [
        (None, b"u", "missing_value", ""),
        (b"\xff", b"u", "invalid_utf8", ""),
        (b"{", b"u", "invalid_json", ""),
        (b"{}", b"u", "missing_field", "event_id"),
        (event("u", 1), None, "missing_key", "key"),
        (event("u", 1), b"v", "key_mismatch", "key"),
        (event("u", 1, "<p> </p>"), b"u", "no_text", "text"),
        (event("u", 1, None), b"u", "no_text", "text"),
        (event("u", 1, "x" * 100_001), b"u", "text_too_long", "text"),
        (event("u", 1, occurred_at="1980-01-01T00:00:00Z"), b"u", "time_too_old", "occurred_at"),
        (event("u", 1, occurred_at="2026-06-01T01:00:01Z"), b"u", "time_in_future", "occurred_at"),
        (event("u", 1, type="sneeze"), b"u", "invalid_field", "type"),
    ],
)
def test_a_refused_record_gives_one_dead_letter_that_says_why(value, key, reason, field):
    raw = json.dumps(value).encode() if isinstance(value, dict) else value
    record = Record("user-events", 0, 41, 1234, key, raw, (("trace", b"said"),))
    holding = Worker(a_model(), dead_letters={**ANY_SHARE, "values": True})
    (whole,) = holding.run([record])
    assert (whole.topic, whole.key, whole.value) == ("user-events.dlq", key, raw)
    told_whole = headers(whole)
    assert told_whole.pop("trace") == "said"
    worker = Worker(a_model(), dead_letters=ANY_SHARE)
    (letter,) = worker.run([record])
    assert (letter.topic, letter.key, letter.value) == ("user-events.dlq", key, None)
    told = headers(letter)
    assert told.pop("dlq_value_bytes") == str(len(raw or b""))
    assert told == told_whole
    assert told.pop("dlq_detail")
    assert told == {
        "dlq_reason": reason,
        "dlq_field": field,
        "dlq_topic": "user-events",
        "dlq_partition": "0",
        "dlq_offset": "41",
        "dlq_timestamp": "1234",
    }
    assert worker.stage.stats.refused == Counter({reason: 1})
    assert worker.state() == {}


def test_a_text_that_the_model_fails_on_is_refused_and_the_others_go_their_way():
    failing = Worker(a_model(), embedder=FailingEmbedder("quark", 16), dead_letters=ANY_SHARE)
    stream = records(
        [
            event("u", 1),
            event("u", 2, "the quark of physics"),
            event("v", 3, TOPICS[1]),
            event("w", 4, None, item_title="a quark"),
            event("u", 5),
        ]
    )
    outputs = failing.run(stream)
    letters = of(outputs, "user-events.dlq")
    assert [(letter.key, letter.value) for letter in letters] == [
        (stream[n].key, None) for n in (1, 3)
    ]
    for letter, offset in zip(letters, "13", strict=True):
        told = headers(letter)
        assert (told["dlq_reason"], told["dlq_offset"]) == ("embedding_failed", offset)
        assert "quark" not in told["dlq_detail"]
    assert failing.stage.stats.refused == Counter({"embedding_failed": 2})
    unharmed = Worker(a_model())
    expected = unharmed.run([stream[n] for n in (0, 2, 4)])
    assert [output for output in outputs if output not in letters] == expected
    assert failing.state() == unharmed.state()


def test_texts_without_a_known_word_are_refused_for_that_where_the_model_knows_words_alone():
    by_words = FailingEmbedder("quark", 16)
    by_words.by_words_alone = True  # type: ignore[attr-defined]
    worker = Worker(a_model(), embedder=by_words, dead_letters=ANY_SHARE)
    worker.run(records([event("u", 1), event("u", 2, "the quark of physics")]))
    assert worker.stage.stats.refused == Counter({"unknown_words": 1})


def test_where_every_text_fails_the_worker_stops_before_it_commits():
    worker = Worker(embedder=FailingEmbedder("hops", 16), dead_letters={"min_records": 3})
    # Nothing is wrong with the records, so nobody is sent to the settings of events.
    told = (
        r"'embedding_failed'.*0\.5: segmenter model verify looks at the embedding model; the batch"
    )
    with pytest.raises(DeadLetterLimitError, match=told):
        worker.apply(records(event("u", n) for n in range(3)))


def test_where_no_text_holds_a_known_word_the_limit_says_to_fit_the_model():
    by_words = FailingEmbedder("hops", 16)
    by_words.by_words_alone = True  # type: ignore[attr-defined]
    worker = Worker(embedder=by_words, dead_letters={"min_records": 3})
    told = r"'unknown_words'.*0\.5: fit the model on .*: segmenter model fit words; the batch"
    with pytest.raises(DeadLetterLimitError, match=told):
        worker.apply(records(event("u", n) for n in range(3)))


def test_of_a_huge_value_the_beginning_is_kept_and_its_length_told():
    worker = Worker(dead_letters={**ANY_SHARE, "values": True, "max_value_bytes": 1024})
    kept, cut = worker.run(
        [Record("user-events", 0, n, -1, b"u", b"?" * size) for n, size in enumerate((1024, 1025))]
    )
    assert (kept.value, cut.value) == (b"?" * 1024, b"?" * 1024)
    assert "dlq_truncated_from" not in headers(kept)
    assert headers(cut)["dlq_truncated_from"] == "1025"


def test_records_that_an_operator_has_brought_back_count_towards_no_limit():
    worker = Worker(dead_letters={"min_records": 10, "max_share": 0.5})
    tries = tuple(redrive_headers(2, "user-events"))
    back = [replace(each, key=None, headers=tries) for each in records([event("u", 1)] * 20)]
    letters = worker.run(back)
    assert {headers(letter)["dlq_redrives"] for letter in letters} == {"2"}
    assert worker.stage.stats.refused == Counter({"missing_key": 20})


def test_too_large_a_share_of_refused_records_stops_the_worker_before_it_commits():
    worker = Worker(dead_letters={"min_records": 10, "max_share": 0.5})
    good = records(event("u", n) for n in range(10))
    bad = [replace(record, key=None) for record in good]
    worker.run(good + bad)  # half of them is not more than half
    with pytest.raises(DeadLetterLimitError, match=r"11 of the latest 21 .*'missing_key'.*0\.5"):
        worker.apply(bad[:1])


def test_the_log_tells_of_the_first_refused_record_and_of_the_limit_s_cause(caplog):
    quoted = [replace(record, key=b'"u"') for record in records(event("u", n) for n in range(20))]
    Worker(dead_letters=ANY_SHARE).run(quoted)
    with pytest.raises(DeadLetterLimitError):
        Worker(dead_letters={"min_records": 10}).run(quoted)
    told = [each for each in caplog.messages if "set events.key = json" in each]
    assert [each.partition("; ")[2] for each in told] == [
        "its dead letter is on user-events.dlq",
        "nothing was sent to user-events.dlq",
    ]
    worker = Worker(events={"key": "json"})
    worker.run(quoted)
    assert worker.stage.stats.accepted.total() == 20


def test_only_the_latest_records_are_watched_for_their_share_of_refused_ones():
    limits = {"min_records": 6, "max_share": 0.5, "window": 4}
    good = records(event("u", n) for n in range(20))
    bad = [replace(record, key=None) for record in good]
    mended = Worker(dead_letters=limits)
    mended.run(bad[:4])  # too few records to judge
    mended.run(good[:4])
    mended.run(good[4:6] + bad[4:6])  # 2 of the latest 8; of all, it would be 6 of 12
    mended.run(good[6:9] + bad[6:8])
    assert mended.stage.stats.refused["missing_key"] == 8
    broken = Worker(dead_letters=limits)
    for n in range(0, 20, 4):
        broken.run(good[n : n + 4])
    with pytest.raises(DeadLetterLimitError, match="5 of the latest 9"):
        broken.apply(bad[:5])


def test_a_transaction_without_records_leaves_the_watched_share_as_it_is():
    worker = Worker(a_model(), dead_letters={"min_records": 3, "max_share": 0.4, "window": 3})
    good = records(event("u", n) for n in range(4))
    worker.run(good[:2])
    for version in range(2, 6):
        worker.source.model = a_model(version, TOPICS[:: 1 if version % 2 else -1])
        assert worker.maintain()
    worker.run([replace(good[2], key=None)])
    with pytest.raises(DeadLetterLimitError, match="2 of the latest 4"):
        worker.apply([replace(good[3], key=None)])


# --- transactions ---------------------------------------------------------------------------------


def test_nothing_is_state_before_the_commit():
    worker = Worker(a_model())
    worker.apply(records([event("u", 1), event("u", 1)]))
    assert worker.state() == {}
    assert (worker.stage.stats.repeated, worker.stage.stats.accepted.total()) == (0, 0)
    worker.stage.committed()
    assert profile_of(worker, "u").sequence == 1
    assert worker.stage.stats.changes == Counter({("entered", "behaviour"): 1})


def test_an_aborted_batch_leaves_no_trace_and_comes_out_the_same_again():
    worker = Worker(a_model(), assignment=FREE, dead_letters=ANY_SHARE)
    worker.run(records([event("u", 1)]))
    before, counted = worker.state(), str(worker.stage.stats)
    batch = [
        *records([event("u", 1), event("u", 90, TOPICS[1]), event("v", 1)]),
        Record("user-events", 0, 7, -1, None, None),
    ]
    first = worker.apply(batch)
    worker.stage.aborted()
    assert (worker.state(), str(worker.stage.stats)) == (before, counted)
    assert worker.maintain() == []
    assert worker.stage.settled
    assert worker.run(batch) == first


def test_an_aborted_reassignment_is_done_again_in_full():
    worker = Worker(a_model(), batch={"reassign_users": 2})
    worker.run(records(event(f"u{n}", 1) for n in range(5)))
    worker.source.model = turned(a_model())
    before = worker.state()
    assert worker.stage.maintain(idle=False)
    worker.stage.aborted()
    assert worker.state() == before
    assert not worker.stage.settled
    moved = changes_in(worker.maintain())
    assert sorted(change.user_id for change in moved) == [f"u{n}" for n in range(5)]
    assert worker.stage.settled


def test_a_partition_that_is_revoked_takes_its_users_along():
    worker = Worker(a_model(), partitions=(0, 1))
    worker.run([*records([event("u", 1)], 0), *records([event("v", 1)], 1)])
    worker.stage.revoked(0)
    assert [*worker.state()] == ["v"]
    worker.source.model = turned(a_model())
    assert [change.user_id for change in changes_in(worker.maintain())] == ["v"]


# --- segments -------------------------------------------------------------------------------------


def test_without_a_model_there_are_profiles_and_samples_but_no_changes():
    outputs = Worker().run(records([event("u", 1)]))
    assert [output.topic for output in outputs] == ["user-profiles", "profile-samples"]


def test_a_first_model_puts_the_known_users_into_segments():
    worker = Worker()
    worker.run(records([event("u", 1), event("v", 1, TOPICS[1])]))
    worker.source.model = a_model()
    entered = {change.user_id: change for change in changes_in(worker.maintain())}
    assert {user: change.segment.id for user, change in entered.items()} == {"u": 0, "v": 1}
    for change in entered.values():
        assert change.status is ChangeStatus.ENTERED
        assert change.reason is ChangeReason.FIRST_ASSIGNMENT
        assert change.cause is ChangeCause.USER
        assert (change.source, change.occurred_at, change.changed_at) == (None, None, NOW)


def test_a_new_model_moves_only_those_who_are_elsewhere_now_and_their_chain_goes_on():
    worker = Worker(a_model())
    worker.run(records([event("u", 1), event("v", 1, TOPICS[1])]))
    brewing, physics = a_model().centres
    elsewhere = "cats whiskers paws"
    centres = np.stack([EMBEDDER.embed([elsewhere])[0], physics, brewing])
    worker.source.model = a_model(2, (elsewhere, TOPICS[1], TOPICS[0]), centres=centres)
    outputs = worker.maintain()
    (change,) = changes_in(outputs)
    assert (change.user_id, change.sequence, change.status) == ("u", 2, ChangeStatus.SWITCHED)
    assert (change.previous_segment.id, change.segment.id) == (0, 2)
    assert change.previous_segment.label == "hops yeast"  # as published, not as the model has it
    assert [output.topic for output in outputs] == [
        "segment-changes",
        "segment-memberships",
        "user-profiles",
    ]
    later = worker.run(records(event("u", n, TOPICS[1]) for n in range(10, 30)))
    assert [c.sequence for c in changes_in(later)] == [3]
    assert changes_in(later)[0].previous_segment == change.segment


def test_a_model_of_an_older_version_is_not_taken_over():
    worker = Worker(a_model(5))
    worker.run(records([event("u", 1)]))
    worker.source.model = turned(a_model(3))
    assert worker.maintain() == []
    assert worker.stage.model.version == 5


def test_a_model_of_another_embedding_is_refused():
    with pytest.raises(StageError, match=r"segment model 3 .* embedding model 000000000000, this"):
        Worker(a_model(3, embedding="0" * 64))


def test_a_user_of_a_retired_segment_moves_at_once_even_while_dwelling():
    worker = Worker(a_model(), assignment={"dwell_events": 50})
    worker.run(records([event("u", 1)]))
    only = a_model(2, TOPICS[1:], ids=np.array([1]))
    worker.source.model = only
    (change,) = changes_in(worker.maintain())
    assert (change.previous_segment.id, change.segment.id) == (0, 1)
    assert change.previous_distance is None


def test_users_too_far_from_every_centre_exit_and_enter_again_later():
    worker = Worker(a_model(), assignment={"max_distance_share": 1.0, **FREE}, profile={"terms": 4})
    near, far = TOPICS[0], "cats whiskers paws"
    stream = [event("u", 1, near), *(event("u", n, far) for n in range(2, 8))]
    stream += [event("u", 4000 + n, near, occurred_at="2026-05-31T00:00:00Z") for n in range(30)]
    seen = changes_in(worker.run(records(stream)))
    assert [change.status for change in seen] == ["entered", "exited", "entered"]
    exited = seen[1]
    assert (exited.segment, exited.margin, exited.previous_segment.id) == (None, None, 0)
    assert seen[2].previous_segment is None

    def to_the_middle(change: SegmentChange) -> float:
        profiles = Worker()
        profiles.run(records(stream[: change.profile.events]))
        vector = profiles.stage.tables[0].gather(["u"]).vectors()[0]
        return float(np.linalg.norm(vector - a_model().middle))

    assert exited.distance > to_the_middle(exited)
    assert seen[2].distance <= (1 - 0.06) * to_the_middle(seen[2])
    assert [change.sequence for change in seen] == [1, 2, 3]


def test_after_a_change_a_user_stays_for_the_dwell_events():
    def first_move(dwell: int, first: int) -> int:
        policy = {"dwell_events": dwell, "min_events": first}
        worker = Worker(a_model(), assignment=policy)
        stream = [event("u", n) for n in range(first)]
        stream += [event("u", 200, TOPICS[1], event_id=str(n)) for n in range(20)]
        stream = [{**e, "occurred_at": "2026-01-02T00:00:00Z"} for e in stream]
        entered, switched = changes_in(worker.run(records(stream)))
        assert (entered.profile.events, switched.status) == (first, "switched")
        return switched.profile.events

    assert first_move(0, 5) == first_move(6, 5) == 11  # six against five: the first that is nearer
    assert first_move(9, 5) == 14
    assert first_move(0, 1) == first_move(9, 1) == 3  # a first text holds for two more at most


def test_a_user_enters_a_first_segment_after_the_least_events():
    worker = Worker(a_model(), assignment={"min_events": 3})
    (change,) = changes_in(worker.run(records(event("u", n) for n in range(5))))
    assert change.profile.events == 3


def test_a_change_says_how_sure_it_is_by_the_profile_as_it_stood():
    worker = Worker(a_model(), assignment=FREE)
    texts = [TOPICS[0], "hops photon", TOPICS[1], TOPICS[1]]
    outputs = worker.run(records(event("u", n, text) for n, text in enumerate(texts)))
    profiles = Worker()
    for n, text in enumerate(texts):
        profiles.run(records([event("u", n, text)]))
        rows = profiles.stage.tables[0].gather(["u"])
        for change in changes_in(outputs):
            if change.profile.events == n + 1:
                sure = confidence(
                    rows.vectors(), np.array([change.segment.id]), rows.weights, a_model().centres
                )
                assert change.confidence == round(float(sure[0]), 6)
    assert [change.segment.id for change in changes_in(outputs)] == [0, 1]


def test_a_user_between_two_segments_enters_neither_until_sure_enough():
    worker = Worker(a_model(), assignment={"min_confidence": 0.9})
    between = " ".join(TOPICS)
    stream = [event("u", 0, between), event("u", 1, between), *(event("u", n) for n in range(2, 6))]
    (change,) = changes_in(worker.run(records(stream)))
    assert change.profile.events > 2
    assert change.confidence >= 0.9


def test_the_id_of_a_change_is_told_by_its_cause_alone():
    stream = records([event("u", 1), event("v", 2, TOPICS[1])])
    early, late = Worker(a_model()), Worker(a_model())
    shifted = [replace(record, offset=record.offset + 70) for record in stream]
    first, second = changes_in(early.run(stream)), changes_in(late.run(shifted))
    assert [change.id for change in first] == [change.id for change in second]
    assert len({change.id for change in first}) == 2
    assert uuid.UUID(first[0].id).version == 5
    for worker in (early, late):
        worker.source.model = turned(a_model())
    assert {c.id for c in changes_in(early.maintain())} == {
        c.id for c in changes_in(late.maintain())
    }


# --- segments that merge and split ----------------------------------------------------------------


def gone(segment: int, version: int, successor: int | None, **fields) -> RetiredSegment:
    given = {"id": segment, "version": version, "successor": successor, "since": 1, "parents": []}
    return RetiredSegment(**{**given, **fields})


def moved_by(model: SegmentModel, **assignment) -> SegmentChange:
    """The change of a user of segment 0, whose profile is all hops, by a new version."""
    worker = Worker(a_model(), assignment=assignment)
    worker.run(records(event("u", n) for n in range(2)))
    worker.source.model = model
    (change,) = changes_in(worker.maintain())
    return change


def test_users_of_a_merged_segment_follow_it_whatever_dwell_and_margin_say():
    history = History(retired=(gone(0, 2, 1),))
    merged = a_model(2, TOPICS[:1], ids=np.array([1]), history=history)
    change = moved_by(merged, dwell_events=50, margin_share=0.99)
    assert change.reason is ChangeReason.SEGMENT_MERGED
    assert change.cause is ChangeCause.MODEL
    assert (change.status, change.sequence) == (ChangeStatus.SWITCHED, 2)
    assert (change.previous_segment.id, change.segment.id) == (0, 1)
    assert (change.source, change.occurred_at) == (None, None)
    assert change.id == change.model_copy(update={"reason": ChangeReason.MODEL_UPDATE}).id


def test_who_writes_as_a_new_model_comes_is_moved_by_it_and_not_by_the_event():
    """The event would have moved nobody under the version that put the user where the user was."""
    worker = Worker(a_model())
    worker.run(records([event("u", 0)]))
    worker.source.model = turned(a_model())
    assert changes_in(worker.run(records([event("u", 1)]))) == []
    (change,) = changes_in(worker.maintain())
    assert (change.reason, change.cause) == (ChangeReason.MODEL_UPDATE, ChangeCause.MODEL)


def test_who_has_left_all_segments_and_is_put_into_one_by_a_new_model_is_no_first_one():
    worker = Worker(a_model(), assignment={"max_distance_share": 1.0, **FREE}, profile={"terms": 4})
    far = "cats whiskers paws"
    stream = [event("u", 1, TOPICS[0]), *(event("u", n, far) for n in range(2, 8))]
    assert [c.status for c in changes_in(worker.run(records(stream)))] == ["entered", "exited"]
    worker.source.model = a_model(2, (TOPICS[1], far))
    (change,) = changes_in(worker.maintain())
    assert change.status is ChangeStatus.ENTERED
    assert (change.reason, change.cause) == (ChangeReason.MODEL_UPDATE, ChangeCause.MODEL)


def test_users_of_a_merged_segment_who_are_nearer_to_another_one_are_moved_by_the_model():
    history = History(retired=(gone(0, 2, 1),))
    merged = a_model(2, (TOPICS[1], TOPICS[0]), ids=np.array([1, 2]), since=(1, 1), history=history)
    assert moved_by(merged).reason is ChangeReason.MODEL_UPDATE


def test_users_who_are_in_another_part_of_a_split_segment_are_there_by_the_split():
    centres = np.stack([-a_model().centres[0], a_model().centres[1], a_model().centres[0]])
    split = a_model(
        2,
        ("cats whiskers", TOPICS[1], TOPICS[0]),
        centres=centres,
        since=(1, 1, 2),
        history=History(parents={2: (0,)}),
    )
    change = moved_by(split)
    assert change.reason is ChangeReason.SEGMENT_SPLIT
    assert (change.previous_segment.id, change.segment.id) == (0, 2)


def test_a_worker_that_skipped_versions_finds_where_a_segment_went():
    retired = (gone(0, 3, 4), gone(4, 6, 7, since=2), gone(9, 5, None))
    latest = a_model(8, TOPICS[:1], ids=np.array([7]), history=History(retired=retired))
    assert moved_by(latest).reason is ChangeReason.SEGMENT_MERGED


def test_a_worker_that_starts_again_amid_a_merger_gives_the_rest_of_the_users_the_same_reason():
    history = History(retired=(gone(0, 2, 1),))
    merged = a_model(2, TOPICS[:1], ids=np.array([1]), history=history)
    worker = Worker(a_model(), batch={"reassign_users": 2})
    worker.run(records(event(f"u{n}", 1) for n in range(5)))
    before = worker.state()
    worker.source.model = merged
    first = changes_in(worker.stage.maintain(idle=False))
    worker.stage.committed()
    assert len(first) == 2
    other = Worker(merged, partitions=())
    restoration = other.stage.restoration(0)
    state = {**before, **{c.user_id: worker.state()[c.user_id] for c in first}}
    for offset, (user, value) in enumerate(state.items()):
        restoration.load(Record("user-profiles", 0, offset, -1, user.encode(), value.encode()))
    other.stage.assigned(0, restoration)
    rest = changes_in(other.maintain())
    assert {change.user_id for change in [*first, *rest]} == {f"u{n}" for n in range(5)}
    assert {change.reason for change in [*first, *rest]} == {ChangeReason.SEGMENT_MERGED}


def test_users_follow_a_rollback_for_the_operators_sake_whatever_became_of_their_segment():
    history = History(retired=(gone(0, 2, 1),))
    merged = a_model(2, TOPICS[:1], ids=np.array([1]), history=history, rollback_of=1)
    change = moved_by(merged, dwell_events=50, margin_share=0.99)
    assert (change.reason, change.cause) == (ChangeReason.ROLLBACK, ChangeCause.OPERATOR)
    assert (change.status, change.model.version) == (ChangeStatus.SWITCHED, 2)
    assert (change.source, change.occurred_at) == (None, None)
    assert cloudevents_headers(change, "s").count(("ce_cause", b"operator")) == 1


def test_under_a_rolled_back_version_events_move_by_behaviour_and_who_waited_enters_as_ever():
    worker = Worker(None)
    worker.run(records([event("waited", 0)]))
    worker.source.model = a_model(2, rollback_of=1)
    (entered,) = changes_in(worker.maintain())
    assert (entered.reason, entered.cause) == (ChangeReason.FIRST_ASSIGNMENT, ChangeCause.USER)
    worker = Worker(a_model(2, rollback_of=1), assignment=FREE)
    seen = changes_in(worker.run(records(event("u", n, TOPICS[n > 0]) for n in range(4))))
    assert [change.reason for change in seen] == [ChangeReason.BEHAVIOUR] * 2


def test_an_event_moves_a_user_by_behaviour_after_a_split_too():
    split = a_model(1, since=(1, 1), history=History(parents={1: (0,)}))
    worker = Worker(split, assignment=FREE)
    seen = changes_in(worker.run(records(event("u", n, TOPICS[n > 0]) for n in range(4))))
    assert [change.reason for change in seen] == [ChangeReason.BEHAVIOUR] * 2


# --- samples --------------------------------------------------------------------------------------


def test_samples_are_sent_for_users_up_to_the_models_threshold_only():
    users = [f"user-{n}" for n in range(40)]
    ranks = sorted(map(rank, users))
    worker = Worker(a_model(sample_threshold=ranks[9]))
    outputs = worker.run(records(event(user, 1) for user in users))
    sent = {output.key.decode() for output in of(outputs, "profile-samples")}
    assert sent == {user for user in users if rank(user) <= ranks[9]}
    assert len(sent) == 10


def test_a_sample_is_the_users_present_profile_of_unit_length():
    worker = Worker()
    outputs = worker.run(records([event("u", 1), event("u", 5, "photon")]))
    (output,) = of(outputs, "profile-samples")
    sample = read_sample(output.key, output.value).to_record()
    profile = profile_of(worker, "u")
    total = decode_array(profile.vector, "<f4").astype(float)
    expected = total / np.linalg.norm(total)
    np.testing.assert_allclose(decode_array(sample.vector, "<f4"), expected, atol=1e-7)
    assert (sample.terms, sample.updated_at) == (profile.terms, profile.reference_time)
    assert sample.weight == profile.weight


# --- reading back ---------------------------------------------------------------------------------


def changelog_record(worker: Worker, **changes) -> Record:
    profile = {**json.loads(worker.state()["u"]), **changes}
    return Record("user-profiles", 0, 17, -1, b"u", json.dumps(profile).encode())


@pytest.fixture
def worker() -> Worker:
    worker = Worker(a_model())
    worker.run(records([event("u", 1)]))
    return worker


def test_a_tombstone_in_the_changelog_forgets_the_user(worker):
    restoration = worker.stage.restoration(0)
    record = changelog_record(worker)
    restoration.load(record)
    assert restoration.table.users == ["u"]
    restoration.load(replace(record, value=None))
    assert restoration.table.users == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"events": -1}, "cannot be read: .*events"),
        ({"vector": "AAAA"}, "cannot be read: buffer size"),
        ({"vector": "AAAAAA=="}, "cannot be read: .* 1 dimensions, .* has 16"),
        ({"schema_version": 0}, "cannot be read: .*schema_version.* written by another version"),
        (
            {"schema_version": 2, "mood": "new"},
            r"a newer version \(schema 2; this one knows 1\): upgrade this worker",
        ),
    ],
)
def test_a_changelog_record_that_does_not_fit_is_refused_with_its_place(worker, changes, sentence):
    with pytest.raises(StageError, match=rf"user-profiles\[0\]@17 .*{sentence}"):
        worker.stage.restoration(0).load(changelog_record(worker, **changes))


def test_a_profile_of_another_embedding_model_is_refused_with_its_place_and_three_ways_out(worker):
    restoration = worker.stage.restoration(0)
    restoration.load(changelog_record(worker, embedding="0" * 64))
    with pytest.raises(
        StageError,
        match=r"user-profiles\[0\]@17 .* model 000000000000, this worker runs .* run the former "
        r"model, .* 'segmenter migrate', or give a new kafka.group_id",
    ):
        Worker(a_model(), partitions=()).stage.assigned(0, restoration)


@pytest.mark.parametrize("later", ["migrated", "removed"])
def test_a_profile_of_another_embedding_model_does_not_matter_once_it_is_superseded(worker, later):
    restoration = worker.stage.restoration(0)
    record = changelog_record(worker)
    restoration.load(changelog_record(worker, embedding="0" * 64))
    restoration.load(record if later == "migrated" else replace(record, value=None))
    other = Worker(a_model(), partitions=())
    other.stage.assigned(0, restoration)
    assert other.stage.tables[0].users == (["u"] if later == "migrated" else [])


def test_a_profile_of_another_embedding_model_counts_where_it_is_the_latest(worker):
    restoration = worker.stage.restoration(0)
    restoration.load(changelog_record(worker))
    restoration.load(changelog_record(worker, embedding="0" * 64))
    with pytest.raises(StageError, match="embedding model 000000000000"):
        restoration.check()


def test_a_user_of_whom_only_the_standing_is_known_is_not_judged_before_the_next_event(worker):
    nothing = encode_array(np.zeros(16), "<f4")
    restoration = worker.stage.restoration(0)
    restoration.load(changelog_record(worker, vector=nothing, weight=0.0, segment=77))
    other = Worker(a_model(), partitions=())
    other.stage.assigned(0, restoration)
    assert other.maintain() == []
    assert other.stage.settled
    (change,) = changes_in(other.run(records([event("u", 9)])))
    assert (change.previous_segment.id, change.sequence) == (77, 2)


def test_a_changelog_key_that_is_not_utf8_is_refused_with_its_place(worker):
    with pytest.raises(StageError, match=r"user-profiles\[0\]@3 .*key is not UTF-8"):
        worker.stage.restoration(0).load(Record("user-profiles", 0, 3, -1, b"\xff", None))


def test_a_takeover_looks_at_all_users_again(worker):
    restoration = worker.stage.restoration(0)
    restoration.load(changelog_record(worker, segment=None, segment_label=None))
    other = Worker(a_model(), partitions=())
    other.stage.assigned(0, restoration)
    assert not other.stage.settled
    (change,) = changes_in(other.maintain())
    assert (change.status, change.sequence) == ("entered", 2)
    assert other.stage.settled


def test_a_table_counts_its_users_by_segment(worker):
    table: ProfileTable = worker.stage.tables[0]
    assert table.segment_counts() == {0: 1}
    plain = Worker()
    plain.run(records([event("u", 1)]))
    assert plain.stage.tables[0].segment_counts() == {NO_SEGMENT: 1}
