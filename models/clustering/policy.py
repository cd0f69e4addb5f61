"""How the trainer learns segments: the section `training` of the settings.

Settings are read by every command, so nothing that computes is loaded here.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from schemas.base import Section
from schemas.errors import quoted

Projection = Literal["none", "random", "pca"]

ALGORITHMS = {"kmeans": False, "dbstream": True}
"""Every algorithm of `models.clustering.clusterers` by its name in settings, and whether it finds
the number of clusters itself."""

# By what each is replaced: docs/clustering.md has the figures.
_ALGORITHMS_THAT_WENT = {"streamkmeans": "kmeans", "clustream": "kmeans", "denstream": "dbstream"}

PROJECTIONS: tuple[Projection, ...] = get_args(Projection)
"""What they can learn in."""

LEAST_SEGMENTS = 2
"""Fewer say nothing of anybody. Where users form no groups, their cloud is cut in two."""


class ClusteringError(ValueError):
    """A step asked of a clusterer that is not ready for it, or a state that does not fit."""


class ClusteringPolicy(Section):
    """How the trainer learns the segments."""

    # Share of the sampled users who must have another nearest segment for a new version: each makes
    # all workers look at all their users again. 0.2 % to 5 % ended the same: a look either moves
    # hardly anybody, or a segment is born.
    publish_share: ClassVar[float] = 0.01

    # What has to speak for another segment, beyond what did after the latest look, in shares of
    # what a segment has. On the Stack Exchange stream noise gives up to 0.05, a new site 0.13 and
    # more once it has some forty users. To swap one for another retires a segment: all of its users
    # change, so that asks for more.
    found_evidence: ClassVar[float] = 0.15
    given_evidence: ClassVar[float] = 0.2
    # A number that was given, up to this many, is a most at first: segments come as users tell them
    # apart. There have to be the more of them the more is known, all with a full sample; where no
    # groups are apart at all there is nothing to wait for, and a quarter is enough. They come
    # by a quarter of those that are there at once, or each would move users for itself.
    most_grown: ClassVar[int] = 64
    faster_unless_apart: ClassVar[float] = 4.0
    seats_at_once: ClassVar[float] = 1.25
    # Share of all samples since the latest look for which a pause is reason enough for another one.
    # A stream that trickles is nothing but pauses.
    pause_share: ClassVar[float] = 1 / 8
    # Samples from one time that it is asked to the next: a share of those so far, within bounds.
    ask_share: ClassVar[float] = 1 / 16
    ask_bounds: ClassVar[tuple[int, int]] = (50, 500)

    segments: int | Literal["auto"] = Field(
        6, description="Number of segments, 1 to 4096; auto finds it."
    )
    max_segments: int = Field(
        100, ge=2, le=4096, description="Segments at most where their number is found."
    )
    min_segment_users: int = Field(
        5,
        ge=1,
        le=1_000_000,
        description="Where the number is found, a segment with fewer sampled users is left to its "
        "neighbours.",
    )
    min_segment_share: float = Field(
        0.005,
        ge=0,
        le=0.5,
        allow_inf_nan=False,
        description="The same as a share of the sampled users; the larger of both counts.",
    )
    algorithm: Literal["kmeans", "dbstream"] = Field(
        "kmeans",
        description="Which of River's clusterers learns. dbstream finds the number of segments "
        "itself, by density, whatever segments is.",
    )
    projection: Projection = Field(
        "none", description="Whether the clusterer learns in fewer dimensions."
    )
    projection_dimensions: int = Field(
        32, ge=1, le=4096, description="How many, where training.projection is not none."
    )
    # A segment with 1 % of all users still has 30 of them, and one look at all of them costs some
    # milliseconds. At 384 numbers each they take 9 MB.
    sample_users: int = Field(
        3000, ge=10, le=1_000_000, description="Users, picked by hash, that the trainer holds."
    )
    # 50 to 200 ended the same on the Stack Exchange stream.
    warmup_users: int = Field(
        50, ge=1, le=1_000_000, description="Sampled users before the first segments are made."
    )
    warmup_events: int = Field(
        300,
        ge=1,
        le=1_000_000_000,
        description="Events of fewer sampled users, faded and weighted as in their profiles, that "
        "will do for the first segments as well.",
    )
    provisional_users: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="Segments that were learned from fewer sampled users are marked provisional.",
    )
    reseed_every: int = Field(
        10_000,
        ge=1,
        description="Samples after which better centres are searched though nothing speaks for it.",
    )
    kept_versions: int = Field(
        50,
        ge=1,
        le=1000,
        description="The latest versions of the segments that are kept, so that one can be put in "
        "force again; fewer where together they are larger than 256 MiB.",
    )
    name_words: Literal["all", "nouns"] = Field(
        "all",
        description="Words that may name a segment: all, or of Chinese and English ones only nouns "
        "and adjectives, which wants the extra of the name names.",
    )
    idle_seconds: float = Field(
        2.0, gt=0, description="Seconds without a sample after which the trainer settles."
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of everything that is random.")

    @field_validator("algorithm", mode="before")
    @classmethod
    def _none_that_went(cls, value: object) -> object:
        if isinstance(value, str) and (instead := _ALGORITHMS_THAT_WENT.get(value)):
            raise ValueError(
                f"is {value!r}, which segmenter no longer has: take {instead}, and segments that "
                "go on keep their ids"
            )
        return value

    @field_validator("segments", mode="before")
    @classmethod
    def _count_or_auto(cls, value: object) -> int | str:
        # One sentence instead of one for each type that the field may have.
        if isinstance(value, str) and re.fullmatch("[0-9]+", value.strip()):
            value = int(value)
        if value == "auto" or (type(value) is int and 1 <= value <= 4096):
            return value
        raise ValueError(f"is {quoted(value)}: give a number of segments from 1 to 4096, or auto")

    @model_validator(mode="after")
    def _enough_users(self) -> Self:
        if self.sample_users < self.least_users:
            raise ValueError(
                f"sample_users is {self.sample_users} for {self.least_segments} segments: "
                f"keep {self.least_users} users or more"
            )
        if self.warmup_users > self.sample_users:
            raise ValueError(
                f"warmup_users is {self.warmup_users}, more than the {self.sample_users} "
                "sample_users that can be held"
            )
        return self

    @property
    def segments_given(self) -> int | None:
        """The number of segments, None where it is to be found."""
        return None if self.segments == "auto" else self.segments

    @property
    def least_users(self) -> int:
        """Users without whom there is no sense in looking for this many segments."""
        return 2 * self.least_segments

    @property
    def least_segments(self) -> int:
        """Segments at least: the number that was given, or the least that is ever found."""
        return self.segments_given or LEAST_SEGMENTS

    def is_warm(self, users: int, events: float) -> bool:
        """Whether so many sampled users with so many events are enough for first segments."""
        least = 2 * LEAST_SEGMENTS if self.grows else self.least_users
        return users >= least and (users >= self.warmup_users or events >= self.warmup_events)

    def is_provisional(self, users: int) -> bool:
        """Whether segments of so many sampled users are to be refined as soon as there are more."""
        return users < min(self.provisional_users, self.sample_users)

    @property
    def own_number(self) -> bool:
        """Whether the algorithm finds the number of segments itself."""
        return ALGORITHMS[self.algorithm]

    @property
    def finds_number(self) -> bool:
        """Whether the number of segments is found, by the algorithm or by the looks."""
        return self.own_number or self.segments_given is None

    @property
    def most_segments(self) -> int:
        """Segments at most: the number that was given, or the most that may be found."""
        return self.max_segments if self.finds_number else self.least_segments

    @property
    def grows(self) -> bool:
        """Whether a number that was given is reached step by step."""
        return not self.finds_number and LEAST_SEGMENTS < self.least_segments <= self.most_grown

    def seats(self, samples: int, users: int, *, apart: bool) -> int:
        """Give how many of the segments asked for there have to be by now.

        Parameters
        ----------
        samples, users
            Profiles learned from, and users in the sample.
        apart
            Whether users fall into groups that are apart, if fewer: then others may come.
        """
        known = users / self.sample_users * (1.0 if apart else self.faster_unless_apart)
        share = min(1.0, max(known, samples / self.reseed_every))
        return max(1, int(share * self.least_segments))

    def ask_after(self, samples: int) -> int:
        """Give the samples between two times that it is asked whether there is something new."""
        least, most = self.ask_bounds
        return min(most, max(least, int(self.ask_share * samples)))

    def least_members(self, users: int) -> int:
        """Give how many of so many sampled users a segment needs where the number is found.

        Of a few users it is a quarter at most: the first segments are of some.
        """
        wanted = max(self.min_segment_users, math.ceil(self.min_segment_share * users))
        return max(1, min(wanted, users // (2 * LEAST_SEGMENTS)))

    def allows(self, segments: int, *, growing: bool = False) -> bool:
        """Whether a model of so many segments is one that this policy could have learned.

        `growing` is whether it was on the way to a number that was given.
        """
        # Users who all write the same are one segment, however many are looked for.
        least = 1 if self.finds_number or (growing and self.grows) else self.least_segments
        return least <= segments <= self.most_segments
