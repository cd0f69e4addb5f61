"""The benchmark of masking: its examples are read as they are labelled, and judged by that."""

from __future__ import annotations

from pathlib import Path

from benchmarks.personal import examples, judge, page


def test_examples_are_read_with_the_places_of_what_tells_a_person(tmp_path: Path) -> None:
    path = tmp_path / "examples.txt"
    lines = ["# head", "Mail {email:a@example.org} or {name:Peter}.", "plain", "# Chinese", "好"]
    path.write_text("\n".join(lines), encoding="utf-8")
    first, second, third = examples(path)
    assert first.text == "Mail a@example.org or Peter."
    assert [first.text[start:end] for start, end, _ in first.mentions] == ["a@example.org", "Peter"]
    assert (second.mentions, second.chinese, third.chinese) == ((), False, True)
    figures = judge([first, second, third])
    assert (figures["texts"], figures["without"], figures["without_masked"]) == (3, 2, 0)
    assert figures["kinds"]["email"]["english_found"] == 1
    assert figures["kinds"]["name"]["english_found"] == 0
    machine = {"cpu": "some"}
    assert "| name | 0 of 1 |" in page({**figures, "machine": machine, "microseconds": 2.0})


def test_all_examples_of_the_project_are_read() -> None:
    every = list(examples())
    assert len(every) > 100
    assert not any("{" in each.text for each in every)
    assert {each.chinese for each in every} == {True, False}
