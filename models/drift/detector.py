"""River's ADWIN on how far texts are from their nearest centre.

A topic that no segment stands for shows as texts far from every centre. The detector keeps no state
between looks: it reads the distances of the reference and then those of the current users, all
measured from the centres of today. So a new version of the segments is no change to it, and a
trainer that was started again sees what the one before saw.

Within either sample the order is one of chance, not that of time: those who wrote last are the
busiest, and if these write on other topics there is a slope in every sample that is in the order in
which its texts came, and a step from the end of one to the beginning of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.distances import Floats

DETECTOR = "adwin"
"""Name of the detector among the metrics."""

DELTA = 0.002
"""ADWIN's chance of a false alarm, River's default. A looser one finds no more large changes, and
has false alarms; KSWIN takes a thousand times as long and finds less; PageHinkley finds as much,
with two scales to be set in place of a chance (docs/drift.md)."""

NewDetector = Callable[[], Any]


def adwin() -> Any:
    """Make the detector that is used."""
    from river.drift import ADWIN  # noqa: PLC0415 - only who looks for drift loads River

    return ADWIN(delta=DELTA)


def detects(reference: Floats, current: Floats, new: NewDetector = adwin) -> bool:
    """Tell whether a detector finds a change among the current values.

    What it finds within the reference is the reference's own matter: it goes on from there.

    Parameters
    ----------
    reference, current
        float64[n] and float64[m], each in an order that has nothing to do with time.
    new
        Makes one of River's drift detectors.
    """
    detector = new()
    # To the scale of the reference: ADWIN's bound holds a term for values between 0 and 1, in which
    # small ones drown.
    mean, deviation = reference.mean(), reference.std() or 1.0
    for value in ((reference - mean) / deviation).tolist():
        detector.update(value)
    for value in ((current - mean) / deviation).tolist():
        detector.update(value)
        if detector.drift_detected:
            return True
    return False
