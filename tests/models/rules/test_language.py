"""What a rule may say, held against the evaluator of the library that parses it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import celpy
import numpy as np
import pytest
from celpy import celtypes
from hypothesis import given
from hypothesis import strategies as st

from models.rules.compiler import RuleError
from models.rules.history import CODES, EVENT, Known
from models.rules.language import MAX_CHARS, Rule, compile_rule
from models.rules.moments import Moments
from models.rules.parts import NEVER
from models.rules.rule_set import RuleSet, RuleSetError
from schemas.events import EventType

DAY = 86_400_000_000
NOW = 1_800_000_000_000_000
UNITS = {"d": DAY, "h": DAY // 24}


def moments(users: list[tuple[list[tuple[int, float, str]], Known]], kept: int = 64) -> Moments:
    """Give a moment each of users with events (age in µs, rating, type)."""
    events = [
        (NOW - age, number + 1, rating, CODES[EventType(kind)])
        for number, (age, rating, kind) in enumerate(each for own, _ in users for each in own)
    ]
    lengths = np.array([len(own) for own, _ in users], np.int64)
    firsts = [max((age for age, _, _ in own), default=NOW - NEVER) for own, _ in users]
    return Moments(
        np.array(events, EVENT),
        np.cumsum(lengths) - lengths,
        lengths,
        np.full(len(users), NOW),
        NOW - np.array(firsts, np.int64),
        [known for _, known in users],
        kept,
    )


def by_the_library(source: str, events: list[tuple[int, float, str]], known: Known) -> bool:
    """Evaluate a rule for one user with cel-python."""

    def chosen(arguments: tuple[Any, ...]) -> list[tuple[int, float, str]]:
        *types, window = arguments
        wanted = set(EventType)
        if types:
            named = types[0]
            wanted = {str(n) for n in named} if isinstance(named, list) else {str(named)}
        length = int(window[:-1]) * UNITS[window[-1]]
        return [each for each in events if each[0] < length and each[2] in wanted]

    def count(*arguments: Any) -> celtypes.IntType:
        return celtypes.IntType(len(chosen(arguments)))

    def mean_rating(*arguments: Any) -> celtypes.DoubleType:
        ratings = [rating for _, rating, _ in chosen(arguments) if not np.isnan(rating)]
        return celtypes.DoubleType(np.mean(ratings) if ratings else np.nan)

    def silent_for(window: Any) -> celtypes.BoolType:
        return celtypes.BoolType(not chosen((window,)))

    limit = sys.getrecursionlimit()
    environment = celpy.Environment()
    sys.setrecursionlimit(limit)  # it sets one of its own
    functions = {"count": count, "mean_rating": mean_rating, "silent_for": silent_for}
    program = environment.program(environment.compile(source), functions=functions)
    found = program.evaluate(
        {
            "segment": celtypes.IntType(known.segment),
            "label": celtypes.StringType(known.label or ""),
            "words": celpy.json_to_cel(sorted(known.words)),
            "attributes": celpy.json_to_cel(dict(known.attributes)),
        }
    )
    return bool(found)


WINDOWS = st.sampled_from(["1h", "6h", "1d", "7d"])
LENGTHS = [DAY // 24, DAY // 4, DAY, 7 * DAY]
SIGNS = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"])
KINDS = st.sampled_from(["review", "purchase", "view"])
TERMS = st.one_of(
    st.builds('count("{}", "{}") >= {}'.format, KINDS, WINDOWS, st.integers(0, 4)),
    st.builds('count("{}") < {}'.format, WINDOWS, st.integers(0, 4)),
    st.builds('count(["{}", "rating"], "{}") == {}'.format, KINDS, WINDOWS, st.integers(0, 3)),
    st.builds('count("{}") - 2 * count("{}") > {}'.format, WINDOWS, WINDOWS, st.integers(-3, 3)),
    st.builds('mean_rating("{}") > {}.5'.format, WINDOWS, st.integers(0, 4)),
    st.builds('mean_rating("{}", "{}") <= 3.0'.format, KINDS, WINDOWS),
    st.builds('mean_rating("{}") + 1.0 < mean_rating("{}")'.format, WINDOWS, WINDOWS),
    st.builds('count("{}") * count("{}") != {}'.format, WINDOWS, WINDOWS, st.integers(0, 4)),
    st.builds('3 - count("{}") {} count("view", "{}")'.format, WINDOWS, SIGNS, WINDOWS),
    st.builds('count("{}") in [{}, 3]'.format, WINDOWS, st.integers(0, 2)),
    st.builds('silent_for("{}")'.format, WINDOWS),
    st.builds("segment {} {}".format, st.sampled_from(["==", "!=", "<", ">="]), st.integers(-1, 3)),
    st.builds("segment in [{}, 2]".format, st.integers(-1, 3)),
    st.builds('"{}" in words'.format, st.sampled_from(["tea", "电池", "x"])),
    st.builds("size(words) {} 1".format, st.sampled_from(["<", "=="])),
    st.builds('attributes.country == "{}"'.format, st.sampled_from(["DE", "CN"])),
    st.builds('attributes["country"] in ["{}", "FR"]'.format, st.sampled_from(["DE", "CN"])),
    st.builds('"{}" in attributes'.format, st.sampled_from(["country", "channel"])),
    st.builds('label.startsWith("{}")'.format, st.sampled_from(["a", "ab", ""])),
    st.builds('label.contains("{}")'.format, st.sampled_from(["b", "z"])),
    st.sampled_from(["true", "false", "has(attributes.country)", 'label != "abc"']),
)
# With a time that is exact: one count, or silence, compared with a number.
COUNTS = st.one_of(
    st.builds(
        'count("{}", "{}") {} {}'.format,
        KINDS,
        WINDOWS,
        SIGNS,
        st.integers(0, 3),
    ),
    st.builds('2 < 2 * count("{}") + {}'.format, WINDOWS, st.integers(-4, 0)),
    st.builds('!silent_for("{}")'.format, WINDOWS),
    st.builds('known_for("{}")'.format, WINDOWS),
)
RULES = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("({}) && ({})".format, inner, inner),
        st.builds("({}) || ({})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("({}) ? ({}) : ({})".format, inner, inner, inner),
    ),
    max_leaves=6,
)
EVENTS = st.lists(
    st.tuples(
        # On the edges of windows and beside them.
        st.sampled_from([0, 1, DAY // 24 - 1, DAY // 24, DAY // 4, DAY, DAY + 1, 7 * DAY, 9 * DAY]),
        st.sampled_from([1.0, 2.5, 5.0, float("nan")]),
        st.sampled_from(["review", "purchase", "view", "rating"]),
    ),
    max_size=6,
)
KNOWN = st.builds(
    Known,
    attributes=st.sampled_from([{"country": "DE"}, {"country": "CN", "channel": "app"}]),
    segment=st.integers(-1, 3),
    label=st.sampled_from(["abc", "xyz"]),
    words=st.frozensets(st.sampled_from(["tea", "电池"])),
)


@given(RULES, st.lists(st.tuples(EVENTS, KNOWN), min_size=1, max_size=4))
def test_columns_tell_what_the_library_tells_of_each_user(source, users):
    found = compile_rule("r", source).evaluate(moments(users)).tolist()
    assert found == [by_the_library(source, *user) for user in users]


def turns_by_looking(rule: Rule, user: tuple[list[Any], Known]) -> int:
    """When a rule turns for one user if no event comes: each time that something leaves."""
    now = moments([user])
    before = rule.evaluate(now)[0]
    leaves = {NOW - age + length for age, _, _ in user[0] for length in LENGTHS}
    for time in sorted(time for time in leaves if time > NOW):
        if rule.evaluate(replace(now, now=np.array([time])))[0] != before:
            return time
    return NEVER


@given(RULES, st.lists(st.tuples(EVENTS, KNOWN), min_size=1, max_size=4))
def test_no_rule_turns_before_the_time_that_is_told(source, users):
    rule = compile_rule("r", source)
    told = RuleSet((rule,), 100 * DAY, 64).turn_at(moments(users)).tolist()
    assert all(time > NOW for time in told)
    assert all(t <= turns_by_looking(rule, user) for t, user in zip(told, users, strict=True))


@given(COUNTS, st.lists(st.tuples(EVENTS, KNOWN), min_size=1, max_size=4))
def test_of_one_count_the_very_time_is_told(source, users):
    rule = compile_rule("r", source)
    told = RuleSet((rule,), 100 * DAY, 64).turn_at(moments(users)).tolist()
    assert told == [turns_by_looking(rule, user) for user in users]


def test_what_is_not_known_is_like_nothing_that_is_written():
    nobody = moments([([], Known())])
    for source, holds in {
        'attributes.country == "DE"': False,
        'attributes.country != "DE"': True,
        'attributes.country in ["DE"]': False,
        "has(attributes.country)": False,
        'attributes.country.startsWith("")': False,
        'label == ""': False,
        "segment == -1": True,
        'mean_rating("1d") < 9.0': False,
        'mean_rating("1d") >= 0.0': False,
        'mean_rating("1d") != 3.0': False,
        "attributes.a == attributes.b": False,
        "label == attributes.a": False,
        "(true ? true : false) == true": True,
        '(1 in [1, 2]) == silent_for("3d")': True,
        'count("1d") == 0 && silent_for("1d")': True,
    }.items():
        assert compile_rule("r", source).evaluate(nobody).tolist() == [holds], source


@given(EVENTS, st.integers(1, 3))
def test_of_each_type_the_newest_count_and_no_others(events, kept):
    rule = RuleSet.of({"r": 'count("9d") > 100 || mean_rating("9d") > 100.0'}, 100 * DAY, 64)
    (why,) = rule.why(0, moments([(events, Known())], kept), np.zeros(1, np.int64))
    newest = [
        each
        for kind in EventType
        for each in sorted(
            (
                (age, -number, rating)
                for number, (age, rating, own) in enumerate(events)
                if own == kind
            )
        )[:kept]
        if each[0] < 9 * DAY
    ]
    ratings = [rating for _, _, rating in newest if not np.isnan(rating)]
    assert why['count("9d")'] == len(newest)
    assert why['mean_rating("9d")'] == (pytest.approx(np.mean(ratings)) if ratings else None)


@pytest.mark.parametrize(
    ("source", "column", "said"),
    [
        ("", 1, "not understood"),
        ('count("30d" >= 3', 16, "not understood"),
        ('count("30d")', 1, "a rule is true or false, this is a whole number"),
        (
            'true && count("visit", "30d") > 1',
            9,
            "no events of type 'visit'; types are review,",
        ),
        ('count("30y") > 1', 1, "a window is written out"),
        ('count("0d") > 1', 1, "a window is written out"),
        ('count("review", label) > 1', 1, "a window is written out"),
        ('count("1d") / 2 > 1', 1, "multiply the other side"),
        ('count("1d") % 2 == 1', 1, "rules do not divide"),
        ("segmnt == 3", 1, "there is no segmnt; a rule reads segment, label, words, attributes"),
        ('exec("x")', 1, "there is no function exec"),
        ("segment == 3 || segment", 17, "|| joins what is true or false, not a whole number"),
        ('segment == "3"', 1, "a whole number cannot be compared so with a text"),
        ('label < "b"', 1, "cannot be compared so"),
        ('mean_rating("1d") * 2 > 3', 1, "2.0 with other numbers"),
        ('[1, "a"] == [1]', 2, "a list has texts or whole numbers"),
        ("words[0] == label", 7, "the name of an attribute is written out"),
        ("words == words", 1, "cannot be compared so"),
        ('label.matches("(a+)+$")', 1, "texts have startsWith, endsWith, contains, not matches"),
        ('words.exists(w, w == "a")', 14, "there is no w"),
        ("null == null", 1, "no such literal"),
        ("has(label)", 1, "has asks for an attribute"),
        ("attributes.a.b == label", 1, "only attributes has fields"),
        ("segment == 99999999999", 12, "the number is too large"),
        ("segment == 03", 12, "a whole number does not begin with 0"),
        ('label == "\\U00110000"', 10, "the text has a sign that there is not"),
        ("has(attributes.a, 3)", 1, "has asks for an attribute"),
        ('segment == 3 ? label : "a"', 16, "both sides of : are to be alike"),
        ("!segment", 2, "the sign does not go with a whole number"),
        ("x" * (MAX_CHARS + 1), 1, "more than 2,000"),
        ("(" * 900 + "true" + ")" * 900, 1, "nested too deeply"),
    ],
)
def test_a_mistake_is_told_with_its_place(source, column, said):
    with pytest.raises(RuleError) as caught:
        compile_rule("r", source)
    error = caught.value
    assert said in error.detail
    assert (error.line, error.column) == (1, column)
    assert len(str(error)) < 500


def test_a_mistake_in_a_later_line_is_shown_there():
    with pytest.raises(RuleSetError) as caught:
        RuleSet.of({"fine": "true", "loyal": 'count("7d") > 3 &&\n  segmnt == 3'}, DAY * 30, 64)
    assert str(caught.value) == (
        "rules.segments.loyal: line 2, column 3: there is no segmnt; a rule reads segment, label, "
        "words, attributes\n    segmnt == 3\n    ^"
    )


def test_a_window_is_no_longer_than_events_are_held():
    with pytest.raises(RuleSetError, match=r"longer than rules.longest_window_days, 30"):
        RuleSet.of({"loyal": 'count("31d") > 3'}, DAY * 30, 64)
    assert RuleSet.of({"loyal": 'known_for("30d")'}, DAY * 30, 64).known_windows == {30 * DAY}


def test_a_chain_may_be_as_long_as_a_rule():
    source = " || ".join(["segment==1"] * 140)
    assert compile_rule("r", source).evaluate(moments([([], Known(segment=1))])).tolist() == [True]


def test_a_rating_is_what_was_written():
    users = moments([([(0, 4.1, "review")], Known()), ([(0, 4.2, "review")], Known())])
    assert compile_rule("r", 'mean_rating("9d") >= 4.1').evaluate(users).tolist() == [True, True]
    assert compile_rule("r", 'mean_rating("9d") < 4.2').evaluate(users).tolist() == [True, False]


def test_what_a_rule_has_read_is_told_as_it_is_written():
    source = 'attributes["x("] == "1" && segment == 4 || attributes["a  b"] == "(" // "'
    told = RuleSet.of({"r": source}, DAY, 64).rules[0].told
    assert [text for text, _ in told] == ['attributes["x("]', "segment", 'attributes["a  b"]']


def test_many_moments_are_looked_at_in_pieces(monkeypatch):
    users = [([(age * DAY, 3.0, "review") for age in range(n % 7)], Known()) for n in range(50)]
    rules = RuleSet.of({"r": 'count("3d") >= 2', "s": 'mean_rating("9d") > 2.0'}, 30 * DAY, 64)
    whole = rules.belongs(moments(users))
    turns = rules.turn_at(moments(users)).tolist()
    some = np.array([3, 40, 41])
    told = rules.why(0, moments(users), some)
    monkeypatch.setattr("models.rules.rule_set._ROWS", 10)
    assert rules.belongs(moments(users)).tolist() == whole.tolist()
    assert rules.why(0, moments(users), some) == told
    assert rules.turn_at(moments(users)).tolist() == turns


def test_a_rule_tells_what_it_has_read():
    rules = RuleSet.of(
        {"r": 'count(["review","view"], "1d") >= 1 && segment != 2 && !("tea" in words)'},
        30 * DAY,
        64,
    )
    user = ([(0, 4.0, "review"), (5, 4.0, "view")], Known(segment=4, words=frozenset(["tea"])))
    assert rules.why(0, moments([user]), np.zeros(1, np.int64))[0] == {
        'count(["review","view"], "1d")': 2,
        "segment": 4,
        '"tea" in words': True,
    }
