"""How drift is looked for: what can be set of it, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass


class DriftError(ValueError):
    """A setting out of bounds, or arrays that make up no reference."""


@dataclass(frozen=True)
class DriftPolicy:
    """How two samples of users are compared.

    Parameters
    ----------
    significance
        Chance of a false alarm of any of the tests, while the current users are all others than at
        the look before. Looks in between see mostly the same users, and add little to it.
    segment_users
        Users that a segment needs on either side to be compared by itself.
    seed
        Seed of every draw.

    Raises
    ------
    DriftError
        Where a value is out of bounds.
    """

    significance: float = 0.0002
    segment_users: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.significance < 0.5:
            raise DriftError(
                f"significance is {self.significance}: give a chance above 0 and below 0.5"
            )
        if self.segment_users < 4:
            raise DriftError(f"segment_users is {self.segment_users}: give 4 users or more")
        if self.seed < 0:
            raise DriftError(f"seed is {self.seed}: give 0 or more")
