"""One sentence of what pydantic found, and values in quotes."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from schemas.errors import first_problem, problems, quoted

ROOT = Path(__file__).parents[2]


class Inner(BaseModel):
    count: int

    @field_validator("count")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 0:
            raise ValueError("give 0 or more")
        return value


class Outer(BaseModel):
    name: str
    inner: list[Inner]


def error_of(value: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(value)
    return caught.value


def test_the_first_problem_is_told_with_its_place_and_how_many_more_there_are():
    one = error_of({"name": "x", "inner": [{"count": 1}, {"count": -1}]})
    assert first_problem(one) == "inner.1.count: give 0 or more"
    several = error_of({"inner": [{"count": "many"}]})
    assert first_problem(several) == "name: Field required, and 1 more"


def test_what_stands_there_is_in_no_sentence():
    error = error_of({"name": ["SECRET"], "inner": "SECRET"})
    assert "SECRET" not in first_problem(error)
    assert [each.given for each in problems(error)] == [["SECRET"], "SECRET"]


def test_a_value_without_a_place_is_told_too():
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json("{SECRET")
    assert first_problem(caught.value).startswith("Invalid JSON: ")
    assert "SECRET" not in first_problem(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (math.nan, "NaN"),
        ("it's", '"it\'s"'),
        (["ü", 1], '["ü", 1]'),
        (datetime(2026, 1, 1, tzinfo=UTC), '"2026-01-01 00:00:00+00:00"'),
        ("x" * 80, "'" + "x" * 78 + "…"),
    ],
)
def test_a_value_is_quoted_as_in_json_and_cut(value, text):
    assert quoted(value) == text


def test_pydantics_own_list_of_errors_is_read_in_one_place():
    reading = re.compile(r"\.errors\(\s*include|\[\"loc\"\]|\[\"msg\"\]")
    found = {
        str(path.relative_to(ROOT))
        for package in ("consumer", "models", "schemas")
        for path in (ROOT / package).rglob("*.py")
        if reading.search(path.read_text())
    }
    assert found == {"schemas/errors.py"}
