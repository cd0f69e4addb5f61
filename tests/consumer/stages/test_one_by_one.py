"""Whatever a batch holds, the arrays do what one event after the other would, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.settings import Settings
from consumer.stages.segmentation import decisions, turns
from consumer.stages.segmentation.labelling import FixedLabelModel
from consumer.stages.segmentation.model_source import FixedModel
from consumer.stages.segmentation.stage import SegmentationStage
from tests.consumer.stages.label_data import a_label_model
from tests.consumer.stages.one_by_one import OneByOne
from tests.consumer.stages.stage_data import (
    ALL,
    EMBEDDER,
    NOW,
    START,
    TOPICS,
    a_model,
    event,
    of,
    records,
)

CENTRES = (*TOPICS, "hops qubit barley photon", "espresso grinder roast crema")
TEXTS = (*CENTRES, "hops yeast photon", "qubit", "malt crema physics espresso", "brewing hops")
KINDS = ("review", "comment", "view")

ONE_EVENT = st.tuples(
    st.sampled_from("abcdefghij"),
    st.integers(0, 400),  # its id: of those few some come again
    st.sampled_from(TEXTS),
    st.integers(0, 200),  # its day, in no order
    st.sampled_from(KINDS),
)
HOT_EVENT = st.tuples(
    st.just("a"), st.integers(0, 1000), st.sampled_from(TEXTS), st.integers(0, 200),
    st.sampled_from(KINDS),
)  # fmt: skip
BATCH = st.one_of(
    st.lists(ONE_EVENT, min_size=1, max_size=40),
    st.lists(HOT_EVENT, min_size=1, max_size=40),
    st.lists(st.one_of(ONE_EVENT, HOT_EVENT), min_size=1, max_size=60),
)
ASSIGNMENT = st.fixed_dictionaries({
    "margin_share": st.sampled_from([0.0, 0.02, 0.1]),
    "min_events": st.sampled_from([1, 3]),
    "dwell_events": st.sampled_from([0, 1, 4]),
    "max_distance_share": st.sampled_from([None, None, 0.7, 1.1]),
    "min_confidence": st.sampled_from([0.0, 0.5]),
})  # fmt: skip


def stream(batch: list[tuple[str, int, str, int, str]], first: int) -> list[Any]:
    events = [
        event(user, number, text, type=kind, occurred_at=(START + timedelta(days=day)).isoformat())
        for user, number, text, day, kind in batch
    ]
    return records([event("z", -1)] * first + events)[first:]


@settings(max_examples=150)
@given(
    batches=st.lists(BATCH, min_size=1, max_size=3),
    assignment=ASSIGNMENT,
    memory=st.sampled_from([1, 5, 64]),
    words=st.sampled_from(["sampled", "all"]),
    threshold=st.sampled_from([0.3, 1.0]),
    cut_upto=st.sampled_from([0.0, 0.5, 1.0]),
    centres=st.integers(0, 4),
    labelled=st.booleans(),
    least=st.sampled_from([1, 3, turns.LEAST_IN_A_TURN]),
    at_once=st.sampled_from([1, 3, decisions.AT_ONCE]),
    float16=st.sampled_from([None, 3.0, 128.0]),
    newer_before=st.sampled_from([None, None, 1, 2]),
)
def test_a_batch_does_what_its_events_do_one_by_one(
    batches: list[list[tuple[str, int, str, int, str]]],
    assignment: dict[str, Any],
    memory: int,
    words: str,
    threshold: float,
    cut_upto: float,
    centres: int,
    labelled: bool,
    least: int,
    at_once: int,
    float16: float | None,
    newer_before: int | None,
) -> None:
    given_settings = Settings(
        assignment=assignment,
        profile={
            "event_memory": memory,
            "half_life_days": 30,
            "precision": "float16" if float16 else "float32",
            "float16_max_weight": float16 or 128,
            "words": words,
        },
        labels={"enabled": labelled, "margin": 0.01, "dwell_events": 1, "min_probability": 0.4},
    )
    model = None
    if centres:
        model = a_model(texts=CENTRES[:centres], sample_threshold=threshold)
    labels = a_label_model() if labelled else None
    source, label_source = FixedModel(model), FixedLabelModel(labels)
    stage = SegmentationStage(
        given_settings,
        EMBEDDER,
        source,
        clock=lambda: NOW,
        intake_clock=lambda: NOW,
        label_models=label_source,
    )
    stage.assigned(0, stage.restoration(0))
    while stage.maintain(idle=True) is not None:
        stage.committed()
    reference = OneByOne(given_settings, EMBEDDER.identity, EMBEDDER.dimensions, model, labels)
    # Batches may have been prepared before the model was known.
    stage._preparation.sampled = cut_upto
    first = 0
    for number, batch in enumerate(batches):
        if model is not None and number == newer_before:
            # Nobody is looked at under them: who is known goes on under the former ones.
            source.model = replace(model, version=2, centres=model.centres[::-1])
            label_source.model = a_label_model(2, swap=True) if labelled else None
            reference.take(source.model, label_source.model)
        prepared = stage.prepare(stream(batch, first))
        first += len(batch)
        with (
            mock.patch.object(turns, "LEAST_IN_A_TURN", least),
            mock.patch.object(decisions, "AT_ONCE", at_once),
        ):
            outputs = stage.apply(prepared, ALL)
        stage.committed()
        wanted = reference.apply(prepared)
        for topic in ("segment-changes", "segment-memberships"):
            assert of(outputs, topic) == of(wanted, topic)
    table = stage.tables[0]
    assert {
        user: table.gather([user]).to_record(0, EMBEDDER.identity).model_dump_json()
        for user in table.users
    } == reference.state()
    stats = stage.stats
    counts = {**stats.accepted, "repeated": stats.repeated, "edited": stats.edited}
    counts |= {f"language {name}": count for name, count in stats.languages.items()}
    assert {name: n for name, n in counts.items() if n} == dict(+reference.counts)
    assert sum(stats.changes.values()) == stage.tables[0].gather(table.users).sequence.sum()
