"""What settings leave out: events of everything, texts of the names of segments."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from consumer.contract.records import Output
from consumer.settings import Settings
from consumer.stages.segmentation.figures import figures
from schemas.dead_letters import RefusalReason
from tests.consumer.stages.stage_data import Worker, event, records


def _headers(output: Output) -> dict[str, str]:
    return {name: value.decode() for name, value in output.headers}


def words_of(worker: Worker, user: str) -> set[str]:
    table = worker.stage.tables[0]
    return set(table.gather([user]).terms[0])


@pytest.mark.parametrize(
    ("setting", "left_out"),
    [
        ({"excluded_users": "bot-.*|u9"}, "events.excluded_users"),
        ({"excluded_texts": "(?i)automatic"}, "events.excluded_texts"),
    ],
)
def test_events_that_a_setting_excludes_count_for_nothing_but_a_dead_letter(
    setting, left_out
) -> None:
    worker = Worker(events=setting, dead_letters={"max_share": 0.1, "min_records": 1})
    outputs = worker.run(
        records([event("bot-1", 1, "Automatic reply"), event("u-bot-2", 2, "malt and hops")])
    )
    (letter,) = [each for each in outputs if each.topic == "user-events.dlq"]
    assert _headers(letter)["dlq_reason"] == "excluded"
    assert _headers(letter)["dlq_detail"] == f"left out by {left_out}"
    assert set(worker.stage.tables[0].users) == {"u-bot-2"}
    assert worker.stage.stats.refused == {RefusalReason.EXCLUDED: 1}
    assert dict(figures(worker.stage))["dead_letters"][RefusalReason.EXCLUDED] == 1


def test_an_event_is_excluded_by_its_title_too() -> None:
    worker = Worker(events={"excluded_texts": "casino"})
    worker.run(records([event("u", 1, "good one", item_title="casino bonus")]))
    assert worker.stage.stats.refused == {RefusalReason.EXCLUDED: 1}


@pytest.mark.parametrize(
    "setting",
    [
        {"unnamed_types": ["question"]},
        {"unnamed_languages": ["de"]},
        {"unnamed_texts": "gekauft"},
    ],
)
def test_texts_that_are_to_name_no_segment_move_profiles_and_leave_no_words(setting) -> None:
    worker, free = Worker(events=setting), Worker()
    batch = [
        event("u", 1, "Bier und Malz gekauft", type="question", language="de"),
        event("u", 2, "malt and hops", type="review", language="en"),
    ]
    for each in (worker, free):
        each.run(records(batch))
    assert words_of(worker, "u") == {"malt", "hops"}
    assert words_of(free, "u") > {"malt", "hops", "bier"}
    mine, others = (each.stage.tables[0].gather(["u"]) for each in (worker, free))
    assert (mine.sums == others.sums).all()
    assert worker.stage.stats.accepted.total() == 2
    assert dict(figures(worker.stage))["fields_left_out"]["words"] == 1
    assert dict(figures(free.stage))["fields_left_out"]["words"] == 0


@pytest.mark.parametrize("name", ["excluded_users", "excluded_texts", "unnamed_texts"])
def test_a_pattern_that_is_none_is_refused_by_name(name) -> None:
    with pytest.raises(ValidationError, match=rf"(?s)events\.{name}.*'\(' is no pattern"):
        Settings(events={name: "("})
