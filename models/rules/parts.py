"""What rules are made of: columns that are read of users, and when time alone makes them others.

Without an event a count only falls, one event after the other, and the mean rating stays between
the ratings that are in the window now. So of each part of a rule a time can be told before which it
stays as it is (`Part.turns`): of a count that is compared with a number the very time, of others
one that is not too late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import reduce
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.events import EventType

Bools = NDArray[np.bool_]
Column = NDArray[Any]
T = TypeVar("T")

NEVER = np.iinfo(np.int64).max // 2
"""A time far ahead, to which the length of any window can be added."""

# What a mean in double precision may be beside the ratings that it is of.
_SLACK = 1e-5


class Window(NamedTuple):
    """A window that a rule looks at: which events count in it, and its length in microseconds.

    `rated` says that those without a rating do not.
    """

    types: frozenset[EventType]
    length: int
    rated: bool = False


class Threshold(NamedTuple):
    """A number that a count is compared with; at least 1."""

    window: Window
    number: int


class Facts(Protocol):
    """What is known of n users at a moment each, as columns; times are in microseconds."""

    def __len__(self) -> int:
        """Give n."""
        ...

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Give what was computed under a name, or compute it."""
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

    def count(self, window: Window) -> Column:
        """Count the events that are in a window up to the moment, int64 (n,)."""
        ...

    def at_least(self, window: Window, number: int) -> Bools:
        """Tell where so many are in it, bool (n,)."""
        ...

    def falls_below(self, window: Window, number: int) -> Column:
        """Tell when fewer than so many will be in it, int64 (n,); NEVER where fewer are."""
        ...

    def falls_to(self, window: Window, least: Column) -> Column:
        """Tell when fewer than so many of each will be in it, int64 (n,); NEVER likewise."""
        ...

    def mean_rating(self, window: Window) -> Column:
        """Give the mean rating in it, float64 (n,), NaN where there is no rating."""
        ...

    def rating_range(self, window: Window) -> tuple[Column, Column]:
        """Give the lowest and the highest rating in it, float64 (n,), NaN where there is none."""
        ...

    def known_for(self, length: int) -> Bools:
        """Tell whose first event lies at least so far back."""
        ...

    def known_from(self, length: int) -> Column:
        """Tell from when on it will, int64 (n,); NEVER where it does."""
        ...


Evaluate = Callable[[Facts], Any]
"""Gives a column; of texts a list, of a literal the value itself."""
Between = Callable[[Facts], tuple[Any, Any]]


class Type(StrEnum):
    """What a part of a rule is."""

    BOOL = "true or false"
    INT = "a whole number"
    DOUBLE = "a number"
    STRING = "a text"
    STRINGS = "a list of texts"
    INTS = "a list of whole numbers"
    ATTRIBUTES = "the attributes"


NUMBERS = {Type.INT, Type.DOUBLE}


class Part(NamedTuple):
    """A part of a rule.

    Attributes
    ----------
    type
        What it is.
    evaluate
        How it is computed.
    literal
        Its value where it is written out.
    turns
        Gives for each row a time before which it stays as it is if no event comes, int64 (n,),
        NEVER where it does for ever; None where it does for all.
    counts
        Of a whole number that is a sum of counts: their factors; what is beside them stays.
    between
        Of a number: gives two numbers between which it stays if no event comes, NaN where there is
        none now and so none later; None where it stays as it is.
    is_count
        Whether it is a count and nothing else.
    """

    type: Type
    evaluate: Evaluate
    literal: Any = None
    turns: Evaluate | None = None
    counts: Mapping[Window, int] | None = None
    between: Between | None = None
    is_count: bool = False

    def range(self, facts: Facts) -> tuple[Any, Any]:
        """Give two numbers between which it stays if no event comes."""
        if self.between is not None:
            return self.between(facts)
        value = self.evaluate(facts)
        return value, value


def earliest(found: Iterable[Evaluate | None]) -> Evaluate | None:
    """Give the earliest of some times; None where there are none at all."""
    times = [each for each in found if each is not None]
    if len(times) < 2:
        return times[0] if times else None
    return lambda facts: reduce(np.minimum, (each(facts) for each in times))


# --- what is read ---------------------------------------------------------------------------------


def constant(kind: Type, value: Any) -> Part:
    """Make what is written out."""
    return Part(kind, lambda facts: value, value, counts={})  # noqa: ARG005


def counted(window: Window) -> Part:
    """Make a count."""
    return Part(
        Type.INT,
        lambda facts: facts.count(window),
        turns=lambda facts: facts.falls_to(window, facts.count(window)),
        counts={window: 1},
        between=lambda facts: (0, facts.count(window)),
        is_count=True,
    )


def mean(window: Window) -> Part:
    """Make a mean rating."""

    def between(facts: Facts) -> tuple[Any, Any]:
        low, high = facts.rating_range(window)
        return low - _SLACK - _SLACK * np.abs(low), high + _SLACK + _SLACK * np.abs(high)

    return Part(
        Type.DOUBLE,
        lambda facts: facts.mean_rating(window),
        turns=lambda facts: facts.falls_to(window, facts.count(window)),
        between=between,
    )


def silent(window: Window) -> Part:
    """Make what is true where nothing is in a window."""
    return Part(
        Type.BOOL,
        lambda facts: ~facts.at_least(window, 1),
        turns=lambda facts: facts.falls_below(window, 1),
    )


def known(length: int) -> Part:
    """Make what is true of those who are known for so long."""
    return Part(
        Type.BOOL,
        lambda facts: facts.known_for(length),
        turns=lambda facts: facts.known_from(length),
    )


# --- numbers --------------------------------------------------------------------------------------

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
}
SIGNS = frozenset(_ARITHMETIC)


def arithmetic(sign: str, left: Part, right: Part) -> Part:
    """Add, subtract or multiply two numbers of one type."""
    compute = _ARITHMETIC[sign]

    def between(facts: Facts) -> tuple[Any, Any]:
        (low, high), (least, most) = left.range(facts), right.range(facts)
        if sign == "add":
            return low + least, high + most
        if sign == "sub":
            return low - most, high - least
        corners = [a * b for a in (low, high) for b in (least, most)]
        return reduce(np.minimum, corners), reduce(np.maximum, corners)

    turns = earliest((left.turns, right.turns))
    return Part(
        left.type,
        lambda facts: compute(left.evaluate(facts), right.evaluate(facts)),
        turns=turns,
        counts=_counts(sign, left, right),
        between=None if turns is None else between,
    )


def _counts(sign: str, left: Part, right: Part) -> Mapping[Window, int] | None:
    """Give the factors of the counts in a result, None where it is no sum of counts."""
    if left.counts is None or right.counts is None:
        return None
    if sign == "mul":
        for own, factor in ((left, right), (right, left)):
            if isinstance(factor.literal, int) and own.counts is not None:
                return {window: by * factor.literal for window, by in own.counts.items()}
        return {} if not (left.counts or right.counts) else None
    found = dict(left.counts)
    for window, by in right.counts.items():
        found[window] = found.get(window, 0) + (by if sign == "add" else -by)
    return found


def negative(part: Part) -> Part:
    """Give a number with the other sign."""
    zero = constant(part.type, 0 if part.type is Type.INT else 0.0)
    return arithmetic("sub", zero, part)


def chosen(condition: Part, yes: Part, no: Part) -> Part:
    """Give one of two parts of one type, truths or numbers."""

    def between(facts: Facts) -> tuple[Any, Any]:
        (low, high), (least, most) = yes.range(facts), no.range(facts)
        return np.fmin(low, least), np.fmax(high, most)

    def turns(facts: Facts) -> Column:
        own = (never(facts) if part.turns is None else part.turns(facts) for part in (yes, no))
        found = np.where(condition.evaluate(facts), *own)
        return found if condition.turns is None else np.minimum(found, condition.turns(facts))

    moves = earliest((condition.turns, yes.turns, no.turns)) is not None
    return Part(
        yes.type,
        lambda facts: np.where(condition.evaluate(facts), yes.evaluate(facts), no.evaluate(facts)),
        turns=turns if moves else None,
        counts=None if moves else {},
        between=between if moves and yes.type is not Type.BOOL else None,
    )


# --- comparing ------------------------------------------------------------------------------------

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
EQUAL = {"eq", "ne"}
SWAPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
"""Signs for the sides the other way round."""


def against(sign: str, window: Window, number: int) -> tuple[Part, tuple[Threshold, ...]]:
    """Compare a count with a number, and give what that asks for."""
    if sign in EQUAL:
        asked = [Threshold(window, least) for least in (number, number + 1) if least > 0]

        def evaluate(facts: Facts) -> Any:
            compare = _COMPARISONS[sign]
            return compare(facts.count(window), number)

        def turns(facts: Facts) -> Column:
            above = facts.falls_below(window, number + 1)
            own = facts.falls_below(window, number) if number > 0 else NEVER
            return np.where(above < NEVER, above, own)

        if not asked:
            return Part(Type.BOOL, evaluate), ()
        return Part(Type.BOOL, evaluate, turns=turns), tuple(asked)
    least = number + (sign in {"gt", "le"})
    if least <= 0:
        return constant(Type.BOOL, sign in {"gt", "ge"})._replace(literal=None), ()
    part = Part(
        Type.BOOL,
        lambda facts: facts.at_least(window, least),
        turns=lambda facts: facts.falls_below(window, least),
    )
    return part if sign in {"gt", "ge"} else inverted(part), (Threshold(window, least),)


def compared(sign: str, left: Part, right: Part) -> Part:
    """Compare numbers; what is not there compares with nothing, not even as another one."""
    compare = _COMPARISONS[sign]
    if {left.type, right.type} == {Type.INT}:

        def evaluate(facts: Facts) -> Any:
            return compare(left.evaluate(facts), right.evaluate(facts))

    else:

        def evaluate(facts: Facts) -> Any:
            first, second = left.evaluate(facts), right.evaluate(facts)
            return compare(first, second) & ~(np.isnan(first) | np.isnan(second))

    moves = earliest((left.turns, right.turns))
    difference = _counts("sub", left, right)
    if moves is None:
        return Part(Type.BOOL, evaluate)
    if difference is not None and {left.type, right.type} == {Type.INT}:
        return Part(
            Type.BOOL,
            evaluate,
            turns=lambda facts: _sum_turns(
                facts, sign, left.evaluate(facts) - right.evaluate(facts), difference
            ),
        )

    def turns(facts: Facts) -> Column:
        # What holds may cease to with the next event that leaves, since it may be the last rating.
        may = np.logical_or(evaluate(facts), _may_hold(sign, left.range(facts), right.range(facts)))
        return np.where(may, moves(facts), NEVER)

    return Part(Type.BOOL, evaluate, turns=turns)


def _may_hold(sign: str, left: tuple[Any, Any], right: tuple[Any, Any]) -> Any:
    """Tell where a comparison may be true, if both sides stay between two numbers each."""
    (low, high), (least, most) = left, right
    if sign in {"lt", "le"}:
        return _COMPARISONS[sign](low, most)
    if sign in {"gt", "ge"}:
        return _COMPARISONS[sign](high, least)
    if sign == "eq":
        return (low <= most) & (high >= least)
    return (low < most) | (high > least)


def _sum_turns(facts: Facts, sign: str, value: Any, counts: Mapping[Window, int]) -> Column:
    """Tell when a sum of counts may compare otherwise with 0, for its value now.

    Of counts with positive factors that sum up to f, at least one has to fall by n / f for the sum
    to fall by n; and likewise for it to rise.
    """
    value = np.broadcast_to(np.asarray(value, np.int64), len(facts))
    if sign in EQUAL:
        falls, rises = np.where(value >= 0, np.maximum(value, 1), 0), np.maximum(-value, 0)
        rises = np.where(value == 0, 1, rises)
    else:
        # Whether it is at least so much, or not: as both signs of a kind ask.
        least = 0 if sign in {"ge", "lt"} else 1
        holds = value >= least
        falls, rises = np.where(holds, value - least + 1, 0), np.where(holds, 0, least - value)
    found = never(facts)
    for way, needed in ((1, falls), (-1, rises)):
        own = {window: by * way for window, by in counts.items() if by * way > 0}
        if not own:
            continue
        each = -(-needed // sum(own.values()))
        for window in own:
            # Below as many as are left then; fewer than none there never are.
            least_left = np.where(needed > 0, facts.count(window) - each + 1, 0)
            found = np.minimum(found, facts.falls_to(window, least_left))
    return found


def among_numbers(left: Part, allowed: Sequence[int]) -> Part:
    """Tell whether a whole number is in a list."""
    return Part(Type.BOOL, lambda facts: np.isin(left.evaluate(facts), allowed), turns=left.turns)


# --- logic ----------------------------------------------------------------------------------------


def joined(parts: Sequence[Part], *, all_of_them: bool) -> Part:
    """Join truths: all of them, or any."""
    join = np.logical_and if all_of_them else np.logical_or

    def turns(facts: Facts) -> Column:
        # True by all holds until the first of them turns; false until all that are false have. The
        # other way round where any is enough.
        first: Any = NEVER
        last: Any = 0
        for part in parts:
            own = part.evaluate(facts)
            times = NEVER if part.turns is None else part.turns(facts)
            if part.turns is not None:
                first = np.minimum(first, times)
            last = np.maximum(
                last, np.where(own, 0, times) if all_of_them else np.where(own, times, 0)
            )
        found: Column = np.where(last == 0, first, last)
        return found

    return Part(
        Type.BOOL,
        lambda facts: reduce(join, (part.evaluate(facts) for part in parts)),
        turns=None if earliest(part.turns for part in parts) is None else turns,
    )


def inverted(part: Part) -> Part:
    """Give what is true where another is not."""
    return Part(Type.BOOL, lambda facts: np.logical_not(part.evaluate(facts)), turns=part.turns)


def never(facts: Facts) -> Column:
    """Give NEVER for each row."""
    return np.full(len(facts), NEVER, np.int64)
