"""What is out of bounds is refused by its name and value, and nothing else is."""

from __future__ import annotations

import math

import pytest

from models import bounds


class OutOfBoundsError(ValueError):
    pass


@pytest.mark.parametrize(
    ("check", "value", "said"),
    [
        (bounds.at_least, 0, "size is 0: give a count, 1 or more"),
        (bounds.shares, 0.0, r"size is 0.0: give a share in \(0, 1\]"),
        (bounds.shares, 1.5, "size is 1.5"),
        (bounds.shares, math.nan, "size is nan"),
        (bounds.above_zero, 0.0, "size is 0.0: give a number above 0"),
        (bounds.above_zero, math.nan, "size is nan"),
        (bounds.above_zero, math.inf, "size is inf"),
    ],
)
def test_the_first_value_out_of_bounds_is_named(check, value, said):
    with pytest.raises(OutOfBoundsError, match=said):
        check(OutOfBoundsError, fine=1, size=value, other=value)


def test_what_is_within_bounds_or_not_given_passes():
    bounds.at_least(OutOfBoundsError, 0, a=0, b=None)
    bounds.shares(OutOfBoundsError, a=1.0, b=1e-9)
    bounds.above_zero(OutOfBoundsError, a=1e-9, b=None)
