"""The benchmark of float16: the same events in either precision."""

from __future__ import annotations

from benchmarks.precision import changes_of
from tests.consumer.stages.stage_data import EMBEDDER, TOPICS, a_model, event, records


def test_changes_are_those_of_the_stream_and_distances_tell_the_precisions_apart() -> None:
    stream = records(
        event(f"u{number % 3}", number, TOPICS[number // 7 % len(TOPICS)]) for number in range(40)
    )
    model = a_model(texts=TOPICS)
    runs = [changes_of(stream, EMBEDDER, each, model) for each in ("float32", "float16")]
    (single, replay), (half, other) = runs
    assert {user for user, *_ in single} == {"u0", "u1", "u2"}
    assert single.keys() == half.keys()
    tables = [each.segmentation.tables[0] for each in (replay, other)]
    assert [table.float16_limit for table in tables] == [None, 128]
    one, two = (table.gather(["u0", "u1", "u2"]).sums for table in tables)
    assert one.tobytes() != two.tobytes()
