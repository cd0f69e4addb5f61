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
user may change without an event: `Rule.windows`, and of a user as it is now `Rule.turns`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from models.rules.compiler import Compiler, RuleError
from models.rules.parts import Bools, Column, Evaluate, Facts, Threshold, Type, Window

MAX_CHARS = 2000


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
    turns
        Gives for each row a time before which that stays so if no event comes, int64 (n,); None
        where time makes nothing else of any.
    thresholds
        Numbers that counts are compared with.
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
    turns: Callable[[Facts], Column] | None
    thresholds: frozenset[Threshold]
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
    compiler = Compiler(source)
    try:
        part = compiler.part(_parsed(source))
    except RecursionError:
        raise RuleError("is nested too deeply", 1, 1, source) from None
    if part.type is not Type.BOOL:
        raise RuleError(f"a rule is true or false, this is {part.type}", 1, 1, source)

    def evaluate(facts: Facts) -> Bools:
        return np.broadcast_to(np.asarray(part.evaluate(facts), bool), len(facts))

    return Rule(
        name,
        source,
        evaluate,
        part.turns,
        frozenset(compiler.thresholds),
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
