"""Sums in half precision (IEEE 754 binary16): which, and there and back.

A sum of unit vectors has a component of some 0.05 an event, and binary16 keeps 11 bits. So the
heavier a profile is, the more of a new event is lost in rounding, until all of it is: at a weight
of some thousands. Hence a limit by weight. And below 2^-14 binary16 keeps fewer bits: so profiles
that have faded to nearly nothing are kept in single precision too.

numpy converts number by number where it was not built for a processor that can do it at once; the
functions here do the same by arrays of bits, in a third of the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U16 = NDArray[np.uint16]

LEAST_WEIGHT = 2.0**-6
"""Below it the components, some 0.05 of the weight, near the range of fewer bits."""

# Numbers converted at once: what is in between stays in the processor's cache.
_AT_ONCE = 1 << 16
_MANTISSA_BITS_LOST = np.uint32(23 - 10)
_SIGN_SHIFT = np.uint32(16)
_EXPONENT_SHIFT = np.uint32((127 - 15) << 23)
_HALF_UNIT = np.uint32((1 << 12) - 1)
_LEAST_NORMAL = np.uint32((127 - 14) << 23)
_OVERFLOW = np.float32(65_520)
"""What rounds to infinity, from here on."""


def in_half(sums: F32, weights: NDArray[np.float64], limit: float | None) -> NDArray[np.bool_]:
    """Tell which of n profiles are kept in half precision, by their state alone.

    Parameters
    ----------
    sums, weights
        float32 (n, d) and float64 (n,).
    limit
        Weight up to which profiles are; None where none is.

    Returns
    -------
    NDArray
        bool (n,). A profile of which a component would overflow is never in it: whatever the
        weights say, nothing becomes infinite.
    """
    if limit is None or not len(sums):
        return np.zeros(len(sums), np.bool_)
    largest = np.maximum(sums.max(axis=1, initial=0), -sums.min(axis=1, initial=0))
    chosen: NDArray[np.bool_] = (
        (weights >= LEAST_WEIGHT) & (weights <= limit) & (largest < _OVERFLOW)
    )
    return chosen


def rounded(sums: F32, weights: NDArray[np.float64], limit: float | None) -> F32:
    """Round the sums of those profiles to half precision that are kept in it; may be in place."""
    if limit is None:
        return sums
    chosen = in_half(sums, weights, limit)
    if chosen.all() and len(chosen):
        return from_half(to_half(sums))
    if chosen.any():
        sums[chosen] = from_half(to_half(sums[chosen]))
    return sums


def to_half(numbers: F32) -> U16:
    """Round to binary16, to nearest, ties to even; the bits. For magnitudes below 65,520."""
    halves = np.empty(numbers.shape, np.uint16)
    bits = np.ascontiguousarray(numbers).view(np.uint32).reshape(-1)
    into = halves.reshape(-1)
    for start in range(0, len(bits), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        into[part] = _halved(bits[part])
    return halves


def _halved(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    magnitude = bits & np.uint32(0x7FFFFFFF)
    half: NDArray[np.uint32] = (magnitude >> _MANTISSA_BITS_LOST) & np.uint32(1)
    half += magnitude
    half += _HALF_UNIT
    half -= _EXPONENT_SHIFT
    half >>= _MANTISSA_BITS_LOST
    small = np.flatnonzero(magnitude < _LEAST_NORMAL)
    if len(small):
        # Added to 0.5, a number is rounded to multiples of 2^-24, which count from 0.5 on.
        shifted = magnitude[small].view(np.float32) + np.float32(0.5)
        half[small] = shifted.view(np.uint32) - np.float32(0.5).view(np.uint32)
    sign = bits >> _SIGN_SHIFT
    sign &= np.uint32(0x8000)
    half |= sign
    return half


def from_half(bits: U16) -> F32:
    """Give the numbers that finite bits of binary16 stand for; exact."""
    numbers = np.empty(bits.shape, np.float32)
    halves, into = np.ascontiguousarray(bits).reshape(-1), numbers.reshape(-1)
    for start in range(0, len(halves), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        wide = into[part].view(np.uint32)
        wide[:] = halves[part]
        sign = wide & np.uint32(0x8000)
        sign <<= _SIGN_SHIFT
        wide &= np.uint32(0x7FFF)
        wide <<= _MANTISSA_BITS_LOST
        wide |= sign
        into[part] *= np.float32(2.0**112)
    return numbers
