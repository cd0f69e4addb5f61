"""Segments by rule: the section `rules` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from schemas.base import Section
from schemas.rule_changes import RULE_NAME

RuleName = Annotated[str, StringConstraints(pattern=RULE_NAME)]


class RulePolicy(Section):
    """Segments that somebody has put into words, beside the learned ones."""

    MICROSECONDS_A_DAY: ClassVar[int] = 86_400_000_000

    # Off, as labels are: it asks for topics, and rights on them.
    enabled: bool = Field(
        False, description="Whether there are segments by rule, and topics for them."
    )
    segments: dict[RuleName, str] = Field(
        default_factory=dict,
        max_length=256,
        description="Rules by the names of their segments, in a part of CEL. They may ask for "
        "count, mean_rating, silent_for, known_for, segment, label, words and attributes.",
    )
    kept_events: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Events of each type that are held of a user: as far as rules can count. 21 "
        "bytes each.",
    )
    longest_window_days: float = Field(
        366, gt=0, le=36_600, description="The longest window that a rule may have."
    )

    @property
    def longest_window(self) -> int:
        """The longest window in microseconds."""
        return int(self.longest_window_days * self.MICROSECONDS_A_DAY)
