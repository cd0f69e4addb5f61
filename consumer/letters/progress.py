"""Which dead letters of a partition have been dealt with, as the redrive's group remembers it.

A run may choose: by reason, by time, up to a limit, up to so many tries. One offset cannot say what
was done and what was left. So what goes with the committed offset says it. Below the offset all is
done. Above it there are, for each kind of dead letter, the spans of offsets in which all of that
kind is. A kind is a reason, a topic, and how often the record was brought back before, since runs
choose by these. So whatever runs are made, in whatever order, each dead letter goes back once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from consumer.contract.errors import ExpectedError

Span = tuple[int, int]
"""Offsets from the first one up to the second, which is not in it."""

# Brokers take 4,096 bytes beside an offset (offset.metadata.max.bytes).
_MOST_BYTES = 4000
_SPANS = TypeAdapter(dict[str, list[Span]])


class TooManySpansError(ExpectedError):
    """What was done and what was left cannot be told in what Kafka keeps beside an offset."""


@dataclass(frozen=True)
class Progress:
    """What is done in a partition.

    Attributes
    ----------
    base
        All below this offset is done.
    spans
        By kind, in which offsets all of it is done; above the base, in order and apart.
    """

    base: int = 0
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Progress:
        """Read what is committed; an offset below 0 is none yet."""
        if offset < 0:
            return cls()
        try:
            spans = _SPANS.validate_json(metadata or "{}")
        except ValidationError:
            spans = {}  # reset by Kafka's own tools
        return cls(offset).with_spans(offset, ((kind, each) for kind, each in spans.items()))

    def write(self) -> str:
        """Give what is to be committed beside the base.

        Raises
        ------
        TooManySpansError
            If it is longer than brokers take.
        """
        text = _SPANS.dump_json({kind: list(each) for kind, each in self.spans.items()}).decode()
        if len(text) > _MOST_BYTES:
            raise TooManySpansError(
                "what was brought back and what was left is too much to remember: bring back the "
                "rest by 'segmenter dead-letters redrive' without --reason, --since and --until"
            )
        return text if self.spans else ""

    def done(self, kind: str, offset: int) -> bool:
        """Tell whether a dead letter is done with."""
        return offset < self.base or any(
            first <= offset < end for first, end in self.spans.get(kind, ())
        )

    def with_spans(self, base: int, more: Iterable[tuple[str, Iterable[Span]]]) -> Progress:
        """Give it with further spans, and all done below a base that is not below its own."""
        merged: dict[str, list[Span]] = {kind: list(each) for kind, each in self.spans.items()}
        for kind, each in more:
            merged.setdefault(kind, []).extend(each)
        joined = {kind: _joined(base, each) for kind, each in merged.items()}
        return Progress(base, {kind: each for kind, each in sorted(joined.items()) if each})


def _joined(base: int, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Join spans that touch, and leave out what lies below a base."""
    found: list[Span] = []
    for first, end in sorted((max(first, base), end) for first, end in spans):
        if end <= first:
            continue
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((first, end))
    return tuple(found)
