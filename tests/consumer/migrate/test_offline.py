"""The parts of `segmenter migrate` that need no broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from consumer.contract.records import Record
from consumer.contract.stage import StageError
from consumer.migrate import Migration, MigrationError, migrate
from consumer.migrate.changelog import PartitionState
from consumer.migrate.feed import TrainerFeed
from consumer.migrate.recompute import NoVectors, recompute
from consumer.migrate.report import MigrationResult, missing_history, render_plan, render_result
from consumer.migrate.survey import Difference, PartitionPlan, Plan, differences
from consumer.settings import Settings
from models.embedding.runner_types import Vectors
from models.profiles.table import ProfileTable
from schemas.arrays import decode_array, encode_array
from schemas.profiles import ProfileRecord
from tests.consumer.stages.stage_data import Worker, a_model, event, records
from tests.stubs import FailingEmbedder, HashingEmbedder

OLD, NEW = "a" * 64, "b" * 64


def profile(user: str = "u", embedding: str = OLD, **fields: Any) -> ProfileRecord:
    given: dict[str, Any] = {
        "user_id": user,
        "embedding": embedding,
        "vector": encode_array(np.ones(3 if embedding == OLD else 2), "<f4"),
        "weight": 2.0,
        "reference_time": datetime(2025, 1, 1, tzinfo=UTC),
        "events": 5,
        "repeats": 1,
        "recent_events": encode_array(np.arange(1, 6), "<u8"),
        "terms": {"hops": 1.0},
        "segment": 3,
        "segment_label": "hops",
        "segment_since_event": 2,
        "sequence": 4,
        "model_version": 7,
    }
    return ProfileRecord(**(given | fields))


def logged(record: ProfileRecord | None, user: str = "u") -> Record:
    value = None if record is None else record.model_dump_json().encode()
    return Record("user-profiles", 2, 9, -1, user.encode(), value)


class Present(FailingEmbedder):
    """The new model, which nobody asks for a vector here."""

    dimensions = 2
    identity = NEW

    def __init__(self) -> None:
        pass


def state_of(*history: Record) -> PartitionState:
    state = PartitionState("user-profiles", 2, Present(), 8)
    for record in history:
        state.load(record)
    return state


def kinds(state: PartitionState) -> tuple[list[str], list[str]]:
    return sorted(state.formers), sorted(state.table.users)


# --- the changelog --------------------------------------------------------------------------------


def test_of_each_user_only_the_latest_record_counts() -> None:
    old, new = logged(profile()), logged(profile(embedding=NEW))
    assert kinds(state_of(old)) == (["u"], [])
    assert kinds(state_of(old, new)) == ([], ["u"])
    assert kinds(state_of(new, old)) == (["u"], [])
    for history in ([old], [new], [old, new]):
        assert kinds(state_of(*history, logged(None))) == ([], [])


def test_a_migrated_user_keeps_the_standing_and_gets_a_new_profile() -> None:
    former = state_of(logged(profile())).formers["u"]
    made = profile(
        embedding=NEW, events=5, weight=1.5, terms={"malt": 2.0}, sequence=0, segment=None
    )
    after = former.migrated(made)
    kept = ("segment", "segment_label", "segment_since_event", "sequence", "model_version")
    assert [getattr(after, name) for name in kept] == [3, "hops", 2, 4, 7]
    assert (after.embedding, after.vector, after.weight) == (NEW, made.vector, 1.5)
    assert after.terms == {"malt": 2.0}


def test_counts_and_event_ids_stay_where_less_history_is_left() -> None:
    former = state_of(logged(profile())).formers["u"]
    fewer = profile(embedding=NEW, events=2, repeats=0, recent_events="")
    after = former.migrated(fewer)
    assert (after.events, after.repeats) == (5, 1)
    assert decode_array(after.recent_events, "<u8").tolist() == [1, 2, 3, 4, 5]


def test_a_user_without_an_event_left_has_a_zero_vector_and_the_former_time() -> None:
    former = state_of(logged(profile())).formers["u"]
    nothing = ProfileTable(2, 8).gather(["u"]).to_record(0, NEW)
    after = former.migrated(nothing)
    assert (after.weight, decode_array(after.vector, "<f4").tolist()) == (0, [0, 0])
    assert after.reference_time == datetime(2025, 1, 1, tzinfo=UTC)
    # It is valid state: the next event alone makes the profile.
    assert state_of(logged(after)).table.users == ["u"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"{", "cannot be read: .*JSON"),
        (b"[]", "cannot be read"),
        (b'{"schema_version": 2}', r"was written by a newer version \(schema 2; this one knows 1"),
        (b'{"schema_version": 1}', "cannot be read: .*user_id"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_with_its_place(
    value: bytes, sentence: str
) -> None:
    with pytest.raises(StageError, match=rf"user-profiles\[2\]@9 {sentence}"):
        state_of(Record("user-profiles", 2, 9, -1, b"u", value))


def test_a_record_of_the_new_model_with_another_size_is_refused() -> None:
    with pytest.raises(StageError, match=r"user-profiles\[2\]@9 .* 3 dimensions, .* has 2"):
        state_of(logged(profile(embedding=NEW, vector=encode_array(np.ones(3), "<f4"))))


# --- profiles made anew ---------------------------------------------------------------------------


def test_recomputed_profiles_are_those_of_a_worker_however_they_are_batched() -> None:
    stream = records(event(f"u{n % 3}", n // 4) for n in range(24))
    worker = Worker(a_model())
    worker.run(stream)
    embedder = HashingEmbedder(16)
    for size in (1, 5, 100):
        settings = Settings(batch={"max_records": size})
        sizes: list[int] = []
        table = recompute(settings, embedder, 0, stream, sizes.append)
        assert sum(sizes) == len(stream)
        for user in table.users:
            record = table.gather([user]).to_record(0, embedder.identity)
            expected = json.loads(worker.state()[user])
            for name in ("vector", "weight", "reference_time", "events", "repeats", "terms"):
                assert json.loads(record.model_dump_json())[name] == expected[name]
            assert (record.segment, record.sequence) == (None, 0)


def test_counting_needs_no_embedding_and_gives_the_same_counts() -> None:
    stream = records(event(f"u{n % 3}", n // 4) for n in range(24))
    counted = recompute(Settings(), NoVectors(NEW), 0, stream, lambda _: None)
    made = recompute(Settings(), HashingEmbedder(16), 0, stream, lambda _: None)
    assert counted.users == made.users
    rows, others = (table.gather(made.users) for table in (counted, made))
    assert rows.events.tolist() == others.events.tolist()
    assert rows.repeats.tolist() == others.repeats.tolist()


def test_records_that_todays_settings_refuse_show_in_the_counts_and_stop_nothing() -> None:
    strict = Settings(
        events={"max_text_chars": 3}, dead_letters={"max_share": 0.01, "min_records": 1}
    )
    table = recompute(strict, NoVectors(NEW), 0, records([event("u", 1)] * 300), lambda _: None)
    former = state_of(logged(profile())).formers
    assert differences(2, former, table) == [Difference("u", 2, (5, 1), (0, 0))]


def test_a_text_that_the_new_model_fails_on_moves_no_profile_and_is_not_missing() -> None:
    stream = records(
        [event("u", 1), event("u", 2, "a quark"), event("u", 2, "a quark"), event("v", 1)]
    )
    failed: Counter[str] = Counter()
    embedder = FailingEmbedder("quark", 16)
    made = recompute(Settings(), embedder, 0, stream, lambda _: None, failed=failed)
    assert failed == Counter({"u": 2})
    without = recompute(Settings(), embedder, 0, [stream[0], stream[3]], lambda _: None)
    for user in ("u", "v"):
        record = made.gather([user]).to_record(0, NEW)
        assert np.isfinite(decode_array(record.vector, "<f4")).all()
        assert record == without.gather([user]).to_record(0, NEW)
    # The changelog has counted both: the event and its repeat.
    counted = [logged(profile("u", events=2, repeats=1), "u"), logged(profile("v", events=1), "v")]
    formers = state_of(*counted).formers
    assert [gap.user for gap in differences(0, formers, made)] == ["u", "v"]
    assert [gap.user for gap in differences(0, formers, made, failed)] == ["v"]
    assert [gap.user for gap in differences(0, formers, made, {"u": 1})] == ["u", "v"]


def test_a_text_on_which_the_new_model_raises_is_left_out_like_one_without_a_vector() -> None:
    class Raising(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            if any("quark" in text for text in texts):
                raise OverflowError
            return super().embed(texts)

    failed: Counter[str] = Counter()
    stream = records([event("u", 1), event("u", 2, "a quark")])
    made = recompute(Settings(), Raising(16), 0, stream, lambda _: None, failed=failed)
    formers = state_of(logged(profile("u", events=2, repeats=0), "u")).formers
    assert failed == Counter({"u": 1})
    assert differences(0, formers, made, failed) == []


def test_a_user_of_whom_every_text_fails_has_no_profile_but_keeps_the_standing() -> None:
    embedder = FailingEmbedder("quark", 2)
    made = recompute(Settings(), embedder, 0, records([event("u", 1, "quark")]), lambda _: None)
    after = state_of(logged(profile())).formers["u"].migrated(made.gather(["u"]).to_record(0, NEW))
    assert (after.weight, after.segment, after.events) == (0, 3, 5)


# --- what it says ---------------------------------------------------------------------------------


def plan(**fields: Any) -> Plan:
    part = PartitionPlan(0, 40, 0, 50, Counter({OLD: 3}), migrated=1, records=1200)
    return Plan(**({"embedding": NEW, "partitions": [part], "feed": TrainerFeed()} | fields))


def test_the_plan_is_told_line_by_line() -> None:
    text = render_plan(plan(rate=2.0), {"g": 2, "g-trainer": 0})
    assert text == (
        "new embedding model: bbbbbbbbbbbb\n"
        "users to migrate: 3 of embedding model aaaaaaaaaaaa\n"
        "users of the new model already: 1\n"
        "events to embed again: 1,200, about 10 min at 2 a second\n"
        "segment model: none yet\n"
        "history: complete\n"
        "group g has 2 members, to be stopped before a migration; the figures are of a moment\n"
    )


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        ((40, 7, 50), r"not all there any more \(events\[0\] begins at offset 7\)"),
        ((60, 0, 50), r"not all there any more \(events\[0\] ends at 50, before the group's 60\)"),
        ((40, 0, 50), "settings of events, profile.event_memory or the dead letters are not those"),
    ],
)
def test_missing_history_is_told_with_its_likely_reason(
    bounds: tuple[int, int, int], reason: str
) -> None:
    part = PartitionPlan(0, *bounds, Counter({OLD: 3}))
    gap = Difference("ann", 0, (5, 1), (2, 0))
    with pytest.raises(MigrationError, match=reason):
        raise MigrationError(missing_history(plan(partitions=[part], differences=[gap]), "events"))


def test_the_result_names_dropped_segments_and_users_without_history() -> None:
    model = a_model(8)
    result = MigrationResult(
        users=1,
        transactions=3,
        without_history=2,
        without_vector=1,
        model=model,
        dropped=(4, 6),
        own=9,
        members=10,
    )
    assert render_result(result) == (
        "1 user migrated in 3 transactions\n"
        "2 users without an event left: only the segment is known, until the next event\n"
        "1 event left out of the profiles: the new embedding model has no vector for the text\n"
        "segment model 8: 2 segments; dropped, having no member: 4, 6\n"
        "9 of 10 sampled users are nearest to the segment that they are in\n"
        "start the workers and the trainer with the new embedding model\n"
    )


def test_nothing_is_counted_where_there_is_nothing_to_migrate() -> None:
    class Done(Migration):
        def look(self) -> Plan:
            return plan(partitions=[PartitionPlan(0, 40, 0, 50, migrated=4)])

    said: list[str] = []
    migrate(Done(Settings(), HashingEmbedder()), dry_run=False, say=said.append)
    assert said == [
        "nothing to migrate: all of group segmenter is of embedding model bbbbbbbbbbbb\n"
    ]


def test_labels_are_kept_over_a_migration():
    labels = {"given": "beer", "predicted": "tea", "since_event": 2, "model_version": 3}
    former = state_of(logged(profile(labels=labels))).formers["u"]
    nothing = ProfileTable(2, 8).gather(["u"]).to_record(0, NEW)
    assert former.migrated(nothing).labels.model_dump() == labels
