"""Makes parts of what cel-python's parser has read, once it is known that the types fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from models.rules import parts, texts
from models.rules.parts import (
    EQUAL,
    NUMBERS,
    SIGNS,
    Evaluate,
    Facts,
    Part,
    Threshold,
    Type,
    Window,
    constant,
)
from schemas.events import EventType

# Characters that a mistake is shown with, before and behind.
_SHOWN = 60
_WINDOW = re.compile(r"([1-9]\d{0,5})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MICROSECOND = timedelta(microseconds=1)
# Further names than these might well be meant.
_VARIABLES = "segment, label, words, attributes"
_FUNCTIONS = "count, mean_rating, silent_for, known_for, size, has"
_ALL_TYPES = frozenset(EventType)
_END = object()


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


@dataclass
class Compiler:
    """Makes parts of the parser's tree."""

    source: str
    windows: set[Window] = field(default_factory=set)
    known_windows: set[int] = field(default_factory=set)
    thresholds: set[Threshold] = field(default_factory=set)
    asks_profile: bool = False
    asks_words: bool = False
    told: dict[str, Evaluate] = field(default_factory=dict)

    def part(self, tree: Any) -> Part:
        """Make a part of a tree."""
        made: Part = getattr(self, f"_{tree.data}", self._unknown)(tree)
        return made

    def _fail(self, tree: Any, detail: str) -> RuleError:
        token = _first_token(tree)
        line, column = (token.line, token.column) if token is not None else (1, 1)
        return RuleError(detail, line, column, self.source)

    def _unknown(self, tree: Any) -> Part:
        raise self._fail(tree, "rules know no such form")

    def _tell(self, tree: Any, part: Part) -> Part:
        part = _once(tree, part)
        self.told[_written(tree, self.source)] = part.evaluate
        return part

    # --- logic --------------------------------------------------------------------------------

    def _expr(self, tree: Any) -> Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        condition, yes, no = (self.part(child) for child in tree.children)
        if condition.type is not Type.BOOL:
            raise self._fail(tree, f"before ? stands true or false, not {condition.type}")
        if yes.type is not no.type or yes.type not in {Type.BOOL, *NUMBERS}:
            raise self._fail(
                tree.children[1], f"both sides of : are to be alike: {yes.type}, {no.type}"
            )
        return parts.chosen(condition, yes, no)

    def _conditionalor(self, tree: Any) -> Part:
        return self._logic(tree, "||", all_of_them=False)

    def _conditionaland(self, tree: Any) -> Part:
        return self._logic(tree, "&&", all_of_them=True)

    def _logic(self, tree: Any, sign: str, *, all_of_them: bool) -> Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        # A long chain is a deep tree.
        whole, kind, chain = tree, tree.data, []
        while tree.data == kind and len(tree.children) == 2:
            tree, last = tree.children
            chain.append(last)
        chain.append(tree)
        found = [self.part(child) for child in reversed(chain)]
        for child, part in zip(reversed(chain), found, strict=True):
            if part.type is not Type.BOOL:
                raise self._fail(child, f"{sign} joins what is true or false, not {part.type}")
        return _once(whole, parts.joined(found, all_of_them=all_of_them))

    def _unary(self, tree: Any) -> Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        sign, part = tree.children[0].data, self.part(tree.children[1])
        if sign == "unary_not" and part.type is Type.BOOL:
            return parts.inverted(part)
        if sign == "unary_neg" and part.type in NUMBERS:
            return parts.negative(part)
        raise self._fail(tree, f"the sign does not go with {part.type}")

    # --- comparing and counting ---------------------------------------------------------------

    def _relation(self, tree: Any) -> Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        sign = tree.children[0].data.removeprefix("relation_")
        left, right = self.part(tree.children[0].children[0]), self.part(tree.children[1])
        if sign == "in":
            return self._membership(tree, left, right)
        if (part := self._against(sign, left, right)) is not None:
            return part
        if {left.type, right.type} <= NUMBERS:
            return _once(tree, parts.compared(sign, left, right))
        if left.type is right.type and left.type in {Type.STRING, Type.BOOL} and sign in EQUAL:
            return _once(tree, texts.same(sign, left, right))
        raise self._fail(tree, f"{left.type} cannot be compared so with {right.type}")

    def _against(self, sign: str, left: Part, right: Part) -> Part | None:
        """Compare a count with a number, whichever stands first; None if it is another comparison.

        Most rules are made of these, so what they ask for is found for all together.
        """
        if isinstance(left.literal, int) and right.literal is None:
            left, right, sign = right, left, parts.SWAPPED[sign]
        number, counts = right.literal, left.counts or {}
        if (left.type, right.type) != (Type.INT, Type.INT) or number is None:
            return None
        if left.literal is not None or [*counts.values()] != [1] or not left.is_count:
            return None
        (window,) = counts
        part, thresholds = parts.against(sign, window, number)
        self.thresholds.update(thresholds)
        return part

    def _membership(self, tree: Any, left: Part, right: Part) -> Part:
        if right.type is Type.ATTRIBUTES and isinstance(left.literal, str):
            return self._tell(tree, texts.has_attribute(left.literal))
        if left.type is Type.STRING and right.type is Type.STRINGS:
            part = texts.among(left, right)
            return self._tell(tree, part) if right.literal is None else _once(tree, part)
        if left.type is Type.INT and right.type is Type.INTS:
            return parts.among_numbers(left, right.literal)
        raise self._fail(tree, f"{left.type} cannot be in {right.type}")

    def _addition(self, tree: Any) -> Part:
        return self._arithmetic(tree)

    def _multiplication(self, tree: Any) -> Part:
        return self._arithmetic(tree)

    def _arithmetic(self, tree: Any) -> Part:
        if len(tree.children) == 1:
            return self.part(tree.children[0])
        sign = tree.children[0].data.rpartition("_")[2]
        left, right = self.part(tree.children[0].children[0]), self.part(tree.children[1])
        if sign not in SIGNS:
            raise self._fail(
                tree, "rules do not divide: multiply the other side of the comparison instead"
            )
        if left.type is not right.type or left.type not in NUMBERS:
            raise self._fail(
                tree,
                f"{left.type} and {right.type} cannot be computed with; whole numbers go with "
                "whole numbers, and 2.0 with other numbers",
            )
        return parts.arithmetic(sign, left, right)

    # --- what stands alone --------------------------------------------------------------------

    def _member(self, tree: Any) -> Part:
        return self.part(tree.children[0])

    _primary = _member

    def _paren_expr(self, tree: Any) -> Part:
        return self.part(tree.children[0])

    def _literal(self, tree: Any) -> Part:
        token = tree.children[0]
        if token.type == "BOOL_LIT":
            return constant(Type.BOOL, token == "true")  # noqa: S105 - no password
        if token.type == "INT_LIT":
            try:
                value = int(token, 0)
            except ValueError:
                raise self._fail(tree, "a whole number does not begin with 0") from None
            # So that no product of two runs over.
            if abs(value) >= 2**31:
                raise self._fail(tree, "the number is too large")
            return constant(Type.INT, value)
        if token.type == "FLOAT_LIT":
            return constant(Type.DOUBLE, float(token))
        if token.type in {"STRING_LIT", "MLSTRING_LIT"}:
            from celpy.evaluation import celstr  # noqa: PLC0415 - as the parser

            try:
                return constant(Type.STRING, str(celstr(token)))
            except ValueError:
                raise self._fail(tree, "the text has a sign that there is not") from None
        raise self._fail(tree, "rules know no such literal")

    def _list_lit(self, tree: Any) -> Part:
        found = self._arguments(tree)
        values = [part.literal for part in found]
        types = {part.type for part in found}
        if types == {Type.STRING} and None not in values:
            allowed = frozenset(values)
            return Part(Type.STRINGS, lambda facts: [allowed] * len(facts), allowed)
        if types == {Type.INT} and None not in values:
            return Part(Type.INTS, lambda facts: values, values)  # noqa: ARG005
        raise self._fail(tree, "a list has texts or whole numbers that are written out")

    def _ident(self, tree: Any) -> Part:
        name = str(tree.children[0])
        if name in texts.READ:
            self.asks_profile = True
            self.asks_words |= name == "words"
            kind, evaluate = texts.READ[name]
            part = Part(kind, evaluate, counts={})
            return part if name == "words" else self._tell(tree, part)
        if name == "attributes":
            return Part(Type.ATTRIBUTES, lambda facts: [None] * len(facts))
        raise self._fail(tree, f"there is no {name}; a rule reads {_VARIABLES}")

    def _member_dot(self, tree: Any) -> Part:
        return self._attribute(tree, str(tree.children[1]))

    def _member_index(self, tree: Any) -> Part:
        name = self.part(tree.children[1]).literal
        if not isinstance(name, str):
            raise self._fail(tree.children[1], "the name of an attribute is written out")
        return self._attribute(tree, name)

    def _attribute(self, tree: Any, name: str) -> Part:
        if self.part(tree.children[0]).type is not Type.ATTRIBUTES:
            raise self._fail(tree, "only attributes has fields")
        return self._tell(tree, texts.attribute(name))

    def _member_dot_arg(self, tree: Any) -> Part:
        method = str(tree.children[1])
        left = self.part(tree.children[0])
        found = self._arguments(tree)
        if method not in texts.METHODS:
            raise self._fail(tree, f"texts have {', '.join(texts.METHODS)}, not {method}")
        if left.type is not Type.STRING or [part.type for part in found] != [Type.STRING]:
            raise self._fail(tree, f"{method} asks a text for a text")
        return _once(tree, texts.tested(method, left, *found))

    # --- functions ----------------------------------------------------------------------------

    def _ident_arg(self, tree: Any) -> Part:
        name = str(tree.children[0])
        if name == "has":
            return self._has(tree)
        make = getattr(self, f"_call_{name}", None)
        if make is None:
            raise self._fail(tree, f"there is no function {name}; there are {_FUNCTIONS}")
        part: Part = make(tree)
        return self._tell(tree, part)

    def _arguments(self, tree: Any) -> list[Part]:
        lists = [child for child in tree.children if getattr(child, "data", "") == "exprlist"]
        return [self.part(child) for each in lists for child in each.children]

    def _call_count(self, tree: Any) -> Part:
        return parts.counted(self._counting(tree, "count"))

    def _call_mean_rating(self, tree: Any) -> Part:
        return parts.mean(self._counting(tree, "mean_rating", rated=True))

    def _call_silent_for(self, tree: Any) -> Part:
        length = self._length(tree, self._arguments(tree), 'silent_for("30d")')
        window = Window(_ALL_TYPES, length)
        self.windows.add(window)
        self.thresholds.add(Threshold(window, 1))
        return parts.silent(window)

    def _call_known_for(self, tree: Any) -> Part:
        length = self._length(tree, self._arguments(tree), 'known_for("30d")')
        self.known_windows.add(length)
        return parts.known(length)

    def _call_size(self, tree: Any) -> Part:
        found = self._arguments(tree)
        if [part.type for part in found] != [Type.STRINGS]:
            raise self._fail(tree, "size counts words: size(words)")
        return texts.size(*found)

    def _has(self, tree: Any) -> Part:
        dots = list(tree.find_data("member_dot"))
        if len(dots) != 1 or [part.type for part in self._arguments(tree)] != [Type.STRING]:
            raise self._fail(tree, "has asks for an attribute: has(attributes.country)")
        return self._tell(tree, texts.has_attribute(str(dots[0].children[1])))

    def _counting(self, tree: Any, name: str, *, rated: bool = False) -> Window:
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
        window = Window(types, self._length(tree, found, usage), rated)
        self.windows.add(window)
        return window

    def _length(self, tree: Any, found: list[Part], usage: str) -> int:
        text = found[0].literal if len(found) == 1 else None
        match = _WINDOW.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise self._fail(tree, f"a window is written out, such as 90m, 12h, 30d or 2w: {usage}")
        return timedelta(**{_UNITS[match[2]]: int(match[1])}) // _MICROSECOND


def _once(tree: Any, part: Part) -> Part:
    """Let a part be computed once for all rules that say the same, and in all that asks for it."""
    name = _shape(tree)
    evaluate, turns = part.evaluate, part.turns

    def turns_once(facts: Facts) -> Any:
        return facts.once(f"when {name}", lambda: turns(facts)) if turns else None

    return part._replace(
        evaluate=lambda facts: facts.once(name, lambda: evaluate(facts)),
        turns=turns_once if turns else None,
    )


def _shape(tree: Any) -> str:
    """Give what tells a tree from others, whatever stands between its tokens."""
    found, waiting = [], [tree]
    while waiting:
        each = waiting.pop()
        if hasattr(each, "children"):
            found.append(f"({each.data}")
            waiting += (_END, *reversed(each.children))
        else:
            found.append(repr(each) if each is not _END else ")")
    return " ".join(found)


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
