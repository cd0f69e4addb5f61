"""What a rule may say: a part of CEL, the Common Expression Language, evaluated over columns.

    count("review", "30d") >= 3 && mean_rating("90d") < 2.5
    attributes.country in ["DE", "AT"] && !("battery" in words)
    segment == 4 && silent_for("14d")

CEL (https://cel.dev) is what Kubernetes, Envoy and Google's IAM have for such rules: it ends
always, calls nothing and has no side effects. cel-python parses it. It evaluates one object after
the other too, which takes longer than all else that a worker does; so a rule is made into
operations on columns here, one row a user, once it is known that the types fit. What both make of a
rule is compared in the tests.

Left out of CEL: division and remainder (CEL's are of whole numbers, which is not what one expects
of `count(...) / count(...)`; multiply the other side), maps, messages, macros but `has`, bytes and
null.

Time comes in by windows that are written out, so it is known beforehand when what a rule says of a
user may change without an event: `Rule.windows`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.events import EventType

MAX_CHARS = 2000
# Characters that a mistake is shown with, before and behind.
_SHOWN = 60
_WINDOW = re.compile(r"([1-9]\d{0,5})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MICROSECOND = timedelta(microseconds=1)
# Further names than these might well be meant.
_VARIABLES = "segment, label, words, attributes"
_FUNCTIONS = "count, mean_rating, silent_for, known_for, size, has"

Bools = NDArray[np.bool_]
Column = NDArray[Any]


class RuleError(ValueError):
    """A rule that says nothing that can be evaluated.

    Attributes
    ----------
    detail
        Why.
    line, column
        Where, from 1.
    source
        The rule.
    """

    def __init__(self, detail: str, line: int, column: int, source: str) -> None:
        self.detail, self.line, self.column, self.source = detail, line, column, source
        lines = source.splitlines() or [""]
        start = max(column - _SHOWN, 0)
        shown = lines[min(line, len(lines)) - 1][start : column + _SHOWN]
        super().__init__(
            f"line {line}, column {column}: {detail}\n  {shown}\n  {' ' * (column - 1 - start)}^"
        )


class Facts(Protocol):
    """What is known of n users at a moment each, as columns; times are in microseconds."""

    def __len__(self) -> int:
        """Give n."""
        ...

    @property
    def segment(self) -> Column:
        """The learned segment, int64 (n,), -1 where there is none."""
        ...

    @property
    def label(self) -> Sequence[str | None]:
        """The predicted label."""
        ...

    @property
    def words(self) -> Sequence[frozenset[str]]:
        """Typical words."""
        ...

    def attribute(self, name: str) -> Sequence[str | None]:
        """Give an attribute's latest value."""
        ...

    def count(self, types: frozenset[EventType], window: int) -> Column:
        """Count events of some types within the window before the moment, int64 (n,)."""
        ...

    def mean_rating(self, types: frozenset[EventType], window: int) -> Column:
        """Give the mean rating in them, float64 (n,), NaN where there is no rating."""
        ...

    def known_for(self, window: int) -> Bools:
        """Tell whose first event lies at least so far back."""
        ...


class Type(StrEnum):
    """What a part of a rule is."""

    BOOL = "true or false"
    INT = "a whole number"
    DOUBLE = "a number"
    STRING = "a text"
    STRINGS = "a list of texts"
    INTS = "a list of whole numbers"
    ATTRIBUTES = "the attributes"


_NUMBERS = {Type.INT, Type.DOUBLE}
Evaluate = Callable[[Facts], Any]
"""Gives a column; of texts a list, of a literal the value itself."""


class Drift(StrEnum):
    """How a part may change as time passes, without an event."""

    STILL = "not at all"
    FALLING = "to less, or to false"
    RISING = "to more, or to true"
    ANY = "in whatever way"


class _Later(NamedTuple):
    """Of a part that is true or false: where it may be so at a later time without an event."""

    true: Evaluate
    false: Evaluate


class _Part(NamedTuple):
    """A part of a rule: what it is, how it is computed, and its value where it is written out."""

    type: Type
    evaluate: Evaluate
    literal: Any = None
    drift: Drift = Drift.STILL
    parts: _Later | None = None

    @property
    def later(self) -> _Later:
        """Where it may be true later, and where false: columns, or one truth for all."""
        if self.parts is not None:
            return self.parts
        now, drift = self.evaluate, self.drift
        return _Later(
            now if drift in {Drift.STILL, Drift.FALLING} else _always,
            (lambda facts: np.logical_not(now(facts)))
            if drift in {Drift.STILL, Drift.RISING}
            else _always,
        )


class Window(NamedTuple):
    """A window that a rule looks at: which events count in it, and its length in microseconds.

    `rated` says that those without a rating do not.
    """

    types: frozenset[EventType]
    length: int
    rated: bool = False


class Told(NamedTuple):
    """A part of a rule that is read of the user, as it is written, and how it is computed."""

    text: str
    evaluate: Evaluate


@dataclass(frozen=True)
class Rule:
    """A rule that can be evaluated.

    Attributes
    ----------
    name
        Names its segment.
    source
        As it was written.
    evaluate
        Tells for each row of facts whether the user belongs to it.
    may_turn
        Tells for each row whether that may be otherwise later, by time alone.
    windows
        When one of these events leaves one of these windows, the truth of it may change.
    known_windows
        So long after the first event likewise.
    longest
        The longest window, microseconds, 0 without any.
    asks_profile
        Whether it asks for what only the profile tells: segment, label, words.
    asks_words
        Whether it asks for words.
    told
        What it reads of the user, for the reason of a change.
    """

    name: str
    source: str
    evaluate: Callable[[Facts], Bools]
    may_turn: Callable[[Facts], Bools]
    windows: frozenset[Window]
    known_windows: frozenset[int]
    asks_profile: bool
    asks_words: bool
    told: tuple[Told, ...]

    @property
    def longest(self) -> int:
        """The longest window, microseconds, 0 without any."""
        lengths = {window.length for window in self.windows}
        return max(lengths | self.known_windows, default=0)


def compile_rule(name: str, source: str) -> Rule:
    """Make a rule of what somebody has written.

    Raises
    ------
    RuleError
        If it is no rule: not CEL, an unknown name, a type that does not fit.
    """
    if len(source) > MAX_CHARS:
        raise RuleError(f"has {len(source):,} characters, more than {MAX_CHARS:,}", 1, 1, source)
    compiler = _Compiler(source)
    try:
        part = compiler.part(_parsed(source))
    except RecursionError:
        raise RuleError("is nested too deeply", 1, 1, source) from None
    if part.type is not Type.BOOL:
        raise RuleError(f"a rule is true or false, this is {part.type}", 1, 1, source)

    def evaluate(facts: Facts) -> Bools:
        return np.broadcast_to(np.asarray(part.evaluate(facts), bool), len(facts))

    later = part.later

    def may_turn(facts: Facts) -> Bools:
        turned = np.where(evaluate(facts), later.false(facts), later.true(facts))
        return np.broadcast_to(np.asarray(turned, bool), len(facts))

    return Rule(
        name,
        source,
        evaluate,
        may_turn,
        frozenset(compiler.windows),
        frozenset(compiler.known_windows),
        asks_profile=compiler.asks_profile,
        asks_words=compiler.asks_words,
        told=tuple(Told(text, found) for text, found in compiler.told.items()),
    )


def _parsed(source: str) -> Any:
    from celpy.celparser import CELParseError, CELParser  # noqa: PLC0415 - an extra, half a second

    try:
        return CELParser().parse(source)
    except CELParseError as error:
        line, column = error.line or 1, error.column or 1
        if line < 1 or column < 1:  # at the end
            line, column = len(source.splitlines()) or 1, len((source.splitlines() or [""])[-1]) + 1
        raise RuleError("this is not understood here", line, column, source) from None


@dataclass
class _Compiler:
    """Makes parts of the parser's tree."""

    source: str
    windows: set[Window] = field(default_factory=set)
    known_windows: set[int] = field(default_factory=set)
    asks_profile: bool = False
    asks_words: bool = False
    told: dict[str, Evaluate] = field(default_factory=dict)

    def part(self, tree: Any) -> _Part:
        """Make a part of a tree."""
        made: _Part = getattr(self, f"_{tree.data}", self._unknown)(tree)
        return made

    def _fail(self, tree: Any, detail: str) -> RuleError:
        token = _first_token(tree)
        line, column = (token.line, token.column) if token is not None else (1, 1)
        return RuleError(detail, line, column, self.source)

    def _unknown(self, tree: Any) -> _Part:
        raise self._fail(tree, "rules know no such form")

    def _tell(self, tree: Any, part: _Part) -> _Part:
        self.told[_written(tree, self.source)] = part.evaluate
        return part

    # --- logic --------------------------------------------------------------------------------

    def _expr(self, tree: Any) -> _Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        condition, yes, no = (self.part(child) for child in tree.children)
        if condition.type is not Type.BOOL:
            raise self._fail(tree, f"before ? stands true or false, not {condition.type}")
        if yes.type is not no.type or yes.type not in {Type.BOOL, *_NUMBERS}:
            raise self._fail(
                tree.children[1], f"both sides of : are to be alike: {yes.type}, {no.type}"
            )
        drifts = {part.drift for part in (condition, yes, no)}
        return _Part(
            yes.type,
            lambda facts: np.where(
                condition.evaluate(facts), yes.evaluate(facts), no.evaluate(facts)
            ),
            drift=Drift.STILL if drifts == {Drift.STILL} else Drift.ANY,
        )

    def _conditionalor(self, tree: Any) -> _Part:
        return self._logic(tree, "||", np.logical_or)

    def _conditionaland(self, tree: Any) -> _Part:
        return self._logic(tree, "&&", np.logical_and)

    def _logic(self, tree: Any, sign: str, join: Callable[[Any, Any], Any]) -> _Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        # A long chain is a deep tree.
        kind, chain = tree.data, []
        while tree.data == kind and len(tree.children) == 2:
            tree, last = tree.children
            chain.append(last)
        chain.append(tree)
        parts = [self.part(child) for child in reversed(chain)]
        for child, part in zip(reversed(chain), parts, strict=True):
            if part.type is not Type.BOOL:
                raise self._fail(child, f"{sign} joins what is true or false, not {part.type}")
        laters = [part.later for part in parts]
        other = np.logical_or if join is np.logical_and else np.logical_and
        return _Part(
            Type.BOOL,
            lambda facts: reduce(join, (part.evaluate(facts) for part in parts)),
            parts=_Later(
                lambda facts: reduce(join, (later.true(facts) for later in laters)),
                lambda facts: reduce(other, (later.false(facts) for later in laters)),
            ),
            drift=Drift.STILL if {part.drift for part in parts} == {Drift.STILL} else Drift.ANY,
        )

    def _unary(self, tree: Any) -> _Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        sign, part = tree.children[0].data, self.part(tree.children[1])
        if sign == "unary_not" and part.type is Type.BOOL:
            later = part.later
            return _Part(
                Type.BOOL,
                lambda facts: np.logical_not(part.evaluate(facts)),
                drift=_FLIPPED[part.drift],
                parts=_Later(later.false, later.true),
            )
        if sign == "unary_neg" and part.type in _NUMBERS:
            return _Part(
                part.type,
                lambda facts: np.negative(part.evaluate(facts)),
                drift=_FLIPPED[part.drift],
            )
        raise self._fail(tree, f"the sign does not go with {part.type}")

    # --- comparing and counting ---------------------------------------------------------------

    def _relation(self, tree: Any) -> _Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        sign = tree.children[0].data.removeprefix("relation_")
        left, right = self.part(tree.children[0].children[0]), self.part(tree.children[1])
        if sign == "in":
            return self._membership(tree, left, right)
        compare = _COMPARISONS[sign]
        if {left.type, right.type} <= _NUMBERS:
            drift = _joined(left.drift, _FLIPPED[right.drift])
            if sign in {"lt", "le"}:
                drift = _FLIPPED[drift]
            elif sign in _EQUAL and drift is not Drift.STILL:
                drift = Drift.ANY
            found = _compared_numbers(left.evaluate, right.evaluate, compare)
            return _Part(Type.BOOL, found, drift=drift)
        if left.type is right.type and left.type in {Type.STRING, Type.BOOL} and sign in _EQUAL:
            drift = Drift.STILL if {left.drift, right.drift} == {Drift.STILL} else Drift.ANY
            return _Part(Type.BOOL, _compared(left.evaluate, right.evaluate, sign), drift=drift)
        raise self._fail(tree, f"{left.type} cannot be compared so with {right.type}")

    def _membership(self, tree: Any, left: _Part, right: _Part) -> _Part:
        if right.type is Type.ATTRIBUTES and isinstance(left.literal, str):
            return self._tell(tree, _has_attribute(left.literal))
        if left.type is Type.STRING and right.type is Type.STRINGS:
            part = _Part(Type.BOOL, _among(left.evaluate, right.evaluate))
            return self._tell(tree, part) if right.literal is None else part
        if left.type is Type.INT and right.type is Type.INTS:
            allowed = right.literal
            return _Part(
                Type.BOOL,
                lambda facts: np.isin(left.evaluate(facts), allowed),
                drift=Drift.STILL if left.drift is Drift.STILL else Drift.ANY,
            )
        raise self._fail(tree, f"{left.type} cannot be in {right.type}")

    def _addition(self, tree: Any) -> _Part:
        return self._arithmetic(tree)

    def _multiplication(self, tree: Any) -> _Part:
        return self._arithmetic(tree)

    def _arithmetic(self, tree: Any) -> _Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        sign = tree.children[0].data.rpartition("_")[2]
        left, right = self.part(tree.children[0].children[0]), self.part(tree.children[1])
        if sign not in _ARITHMETIC:
            raise self._fail(
                tree, "rules do not divide: multiply the other side of the comparison instead"
            )
        if left.type is not right.type or left.type not in _NUMBERS:
            raise self._fail(
                tree,
                f"{left.type} and {right.type} cannot be computed with; whole numbers go with "
                "whole numbers, and 2.0 with other numbers",
            )
        compute = _ARITHMETIC[sign]
        if sign == "mul":
            drift = Drift.STILL if {left.drift, right.drift} == {Drift.STILL} else Drift.ANY
            for own, factor in ((left, right), (right, left)):
                if factor.literal is not None and factor.literal >= 0:
                    drift = own.drift
        else:
            drift = _joined(left.drift, right.drift if sign == "add" else _FLIPPED[right.drift])
        return _Part(
            left.type,
            lambda facts: compute(left.evaluate(facts), right.evaluate(facts)),
            drift=drift,
        )

    # --- what stands alone --------------------------------------------------------------------

    def _member(self, tree: Any) -> _Part:
        return self.part(tree.children[0])

    _primary = _member

    def _paren_expr(self, tree: Any) -> _Part:
        return self.part(tree.children[0])

    def _literal(self, tree: Any) -> _Part:
        token = tree.children[0]
        if token.type == "BOOL_LIT":
            return _constant(Type.BOOL, token == "true")  # noqa: S105 - no password
        if token.type == "INT_LIT":
            try:
                value = int(token, 0)
            except ValueError:
                raise self._fail(tree, "a whole number does not begin with 0") from None
            # So that no product of two runs over.
            if abs(value) >= 2**31:
                raise self._fail(tree, "the number is too large")
            return _constant(Type.INT, value)
        if token.type == "FLOAT_LIT":
            return _constant(Type.DOUBLE, float(token))
        if token.type in {"STRING_LIT", "MLSTRING_LIT"}:
            from celpy.evaluation import celstr  # noqa: PLC0415 - as the parser

            try:
                return _constant(Type.STRING, str(celstr(token)))
            except ValueError:
                raise self._fail(tree, "the text has a sign that there is not") from None
        raise self._fail(tree, "rules know no such literal")

    def _list_lit(self, tree: Any) -> _Part:
        parts = self._arguments(tree)
        values = [part.literal for part in parts]
        types = {part.type for part in parts}
        if types == {Type.STRING} and None not in values:
            allowed = frozenset(values)
            return _Part(Type.STRINGS, lambda facts: [allowed] * len(facts), allowed)
        if types == {Type.INT} and None not in values:
            return _Part(Type.INTS, lambda facts: values, values)  # noqa: ARG005
        raise self._fail(tree, "a list has texts or whole numbers that are written out")

    def _ident(self, tree: Any) -> _Part:
        name = str(tree.children[0])
        if name in _READ:
            self.asks_profile = True
            self.asks_words |= name == "words"
            kind, evaluate = _READ[name]
            part = _Part(kind, evaluate)
            return part if name == "words" else self._tell(tree, part)
        if name == "attributes":
            return _Part(Type.ATTRIBUTES, lambda facts: [None] * len(facts))
        raise self._fail(tree, f"there is no {name}; a rule reads {_VARIABLES}")

    def _member_dot(self, tree: Any) -> _Part:
        return self._attribute(tree, str(tree.children[1]))

    def _member_index(self, tree: Any) -> _Part:
        name = self.part(tree.children[1]).literal
        if not isinstance(name, str):
            raise self._fail(tree.children[1], "the name of an attribute is written out")
        return self._attribute(tree, name)

    def _attribute(self, tree: Any, name: str) -> _Part:
        if self.part(tree.children[0]).type is not Type.ATTRIBUTES:
            raise self._fail(tree, "only attributes has fields")
        return self._tell(tree, _Part(Type.STRING, lambda facts: facts.attribute(name)))

    def _member_dot_arg(self, tree: Any) -> _Part:
        method = str(tree.children[1])
        left = self.part(tree.children[0])
        found = self._arguments(tree)
        if method not in _METHODS:
            raise self._fail(tree, f"texts have {', '.join(_METHODS)}, not {method}")
        if left.type is not Type.STRING or [part.type for part in found] != [Type.STRING]:
            raise self._fail(tree, f"{method} asks a text for a text")
        test, (right,) = _METHODS[method], found

        def evaluate(facts: Facts) -> Bools:
            pairs = zip(_texts(left, facts), _texts(right, facts), strict=True)
            return np.array([None not in pair and test(*pair) for pair in pairs], bool)

        return _Part(Type.BOOL, evaluate)

    # --- functions ----------------------------------------------------------------------------

    def _ident_arg(self, tree: Any) -> _Part:
        name = str(tree.children[0])
        if name == "has":
            return self._has(tree)
        make = getattr(self, f"_call_{name}", None)
        if make is None:
            raise self._fail(tree, f"there is no function {name}; there are {_FUNCTIONS}")
        part: _Part = make(tree)
        return self._tell(tree, part)

    def _arguments(self, tree: Any) -> list[_Part]:
        lists = [child for child in tree.children if getattr(child, "data", "") == "exprlist"]
        return [self.part(child) for each in lists for child in each.children]

    def _call_count(self, tree: Any) -> _Part:
        types, window = self._types_and_window(tree, "count")
        return _Part(Type.INT, lambda facts: facts.count(types, window), drift=Drift.FALLING)

    def _call_mean_rating(self, tree: Any) -> _Part:
        types, window = self._types_and_window(tree, "mean_rating", rated=True)
        return _Part(Type.DOUBLE, lambda facts: facts.mean_rating(types, window), drift=Drift.ANY)

    def _call_silent_for(self, tree: Any) -> _Part:
        window = self._window(tree, self._arguments(tree), 'silent_for("30d")')
        self.windows.add(Window(_ALL_TYPES, window))
        return _Part(
            Type.BOOL,
            lambda facts: facts.count(_ALL_TYPES, window) == 0,
            drift=Drift.RISING,
        )

    def _call_known_for(self, tree: Any) -> _Part:
        window = self._window(tree, self._arguments(tree), 'known_for("30d")')
        self.known_windows.add(window)
        return _Part(Type.BOOL, lambda facts: facts.known_for(window), drift=Drift.RISING)

    def _call_size(self, tree: Any) -> _Part:
        found = self._arguments(tree)
        if [part.type for part in found] != [Type.STRINGS]:
            raise self._fail(tree, "size counts words: size(words)")
        (part,) = found
        return _Part(
            Type.INT,
            lambda facts: np.array([len(each) for each in part.evaluate(facts)], np.int64),
        )

    def _has(self, tree: Any) -> _Part:
        dots = list(tree.find_data("member_dot"))
        if len(dots) != 1 or [part.type for part in self._arguments(tree)] != [Type.STRING]:
            raise self._fail(tree, "has asks for an attribute: has(attributes.country)")
        return self._tell(tree, _has_attribute(str(dots[0].children[1])))

    def _types_and_window(
        self, tree: Any, name: str, *, rated: bool = False
    ) -> tuple[frozenset[EventType], int]:
        found, usage = self._arguments(tree), f'{name}("review", "30d")'
        types = _ALL_TYPES
        if len(found) == 2:
            named = found.pop(0).literal
            names = [named] if isinstance(named, str) else sorted(named or ())
            unknown = [each for each in names if each not in set(EventType)]
            if unknown or not names:
                said = (
                    f"there are no events of type {unknown[0]!r}" if unknown else f"as in {usage}"
                )
                raise self._fail(tree, f"{said}; types are {', '.join(EventType)}")
            types = frozenset(map(EventType, names))
        window = self._window(tree, found, usage)
        self.windows.add(Window(types, window, rated))
        return types, window

    def _window(self, tree: Any, found: list[_Part], usage: str) -> int:
        text = found[0].literal if len(found) == 1 else None
        match = _WINDOW.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise self._fail(tree, f"a window is written out, such as 90m, 12h, 30d or 2w: {usage}")
        return timedelta(**{_UNITS[match[2]]: int(match[1])}) // _MICROSECOND


_FLIPPED = {
    Drift.STILL: Drift.STILL,
    Drift.FALLING: Drift.RISING,
    Drift.RISING: Drift.FALLING,
    Drift.ANY: Drift.ANY,
}


def _joined(one: Drift, other: Drift) -> Drift:
    """Give the drift of a sum."""
    moving = {one, other} - {Drift.STILL}
    if not moving:
        return Drift.STILL
    return moving.pop() if len(moving) == 1 else Drift.ANY


def _always(facts: Facts) -> Bools:
    return np.ones(len(facts), bool)


_ALL_TYPES = frozenset(EventType)
_EQUAL = {"eq", "ne"}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
}
_METHODS: dict[str, Callable[[Any, Any], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": operator.contains,
}
_READ: dict[str, tuple[Type, Evaluate]] = {
    "segment": (Type.INT, lambda facts: facts.segment),
    "label": (Type.STRING, lambda facts: facts.label),
    "words": (Type.STRINGS, lambda facts: facts.words),
}


def _constant(kind: Type, value: Any) -> _Part:
    return _Part(kind, lambda facts: value, value)  # noqa: ARG005


def _texts(part: _Part, facts: Facts) -> Sequence[str | None]:
    """Give a part that is a text as one text for each row."""
    found = part.evaluate(facts)
    return [found] * len(facts) if isinstance(found, str) else found


def _compared(left: Evaluate, right: Evaluate, sign: str) -> Evaluate:
    """Compare texts, or truths, for being the same."""

    def evaluate(facts: Facts) -> Bools:
        first, second = (_spread(each(facts), len(facts)) for each in (left, right))
        pairs = zip(first, second, strict=True)
        same = np.array([a == b and a is not None for a, b in pairs], bool)
        return same if sign == "eq" else ~same

    return evaluate


def _compared_numbers(
    left: Evaluate, right: Evaluate, compare: Callable[[Any, Any], Any]
) -> Evaluate:
    """Compare numbers; what is not there compares with nothing, not even as another one."""

    def evaluate(facts: Facts) -> Any:
        first, second = left(facts), right(facts)
        return compare(first, second) & ~(np.isnan(first) | np.isnan(second))

    return evaluate


def _among(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(facts: Facts) -> Bools:
        first = _spread(left(facts), len(facts))
        return np.array([a in b for a, b in zip(first, right(facts), strict=True)], bool)

    return evaluate


def _spread(found: Any, rows: int) -> Any:
    if isinstance(found, list):
        return found
    return [found] * rows if isinstance(found, str) else np.broadcast_to(found, rows).tolist()


def _has_attribute(name: str) -> _Part:
    return _Part(
        Type.BOOL,
        lambda facts: np.array([each is not None for each in facts.attribute(name)], bool),
    )


def _first_token(tree: Any) -> Any:
    """Give the leftmost token below a tree, None where there is none."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if not hasattr(each, "children"):
            return each
        waiting += reversed(each.children)
    return None


_IN_QUOTES = re.compile(r"""[rR]?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")


def _written(tree: Any, source: str) -> str:
    """Give what stands in the source for a tree: from its first to its last token, closed."""
    tokens = list(tree.scan_values(lambda _: True))
    start, end = tokens[0].start_pos, tokens[-1].end_pos
    # The parser drops signs: what was opened is closed as it was written, texts apart.
    bare = _IN_QUOTES.sub(lambda match: "_" * len(match[0]), source)
    opened = bare[start:end]
    while end < len(source) and (
        opened.count("(") > opened.count(")") or opened.count("[") > opened.count("]")
    ):
        end += 1
        opened = bare[start:end]
    return re.sub(r"\s*\n\s*", " ", source[start:end])
