"""River's drift detectors on the distances that the last look of each stream sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from river.drift import ADWIN, KSWIN, PageHinkley

from models.distances import Floats
from models.drift.detector import DELTA, detects

Distances = tuple[Floats, Floats]

DETECTORS: Mapping[str, Callable[[], Any]] = {
    f"ADWIN(delta={DELTA})": lambda: ADWIN(delta=DELTA),
    "ADWIN(delta=0.05)": lambda: ADWIN(delta=0.05),
    "ADWIN(delta=0.5)": lambda: ADWIN(delta=0.5),
    "PageHinkley(delta=0.05, threshold=30)": lambda: PageHinkley(delta=0.05, threshold=30),
    "PageHinkley(delta=0.05, threshold=50)": lambda: PageHinkley(delta=0.05, threshold=50),
    "PageHinkley(delta=0.2, threshold=30)": lambda: PageHinkley(delta=0.2, threshold=30),
    "KSWIN(alpha=1e-4, 200, 60)": lambda: KSWIN(1e-4, 200, 60, seed=0),
    "KSWIN(alpha=1e-5, 800, 300)": lambda: KSWIN(1e-5, 800, 300, seed=0),
}
"""By a name that tells the parameters. Distances are in deviations of the reference."""


def compare(streams: Mapping[str, Sequence[Distances]]) -> list[dict[str, Any]]:
    """Count, by kind of stream, in how many each detector finds a change."""
    rows = []
    for name, new in DETECTORS.items():
        begin, values = time.process_time(), 0
        found = {}
        for kind, looks in streams.items():
            found[kind] = sum(detects(reference, now, new) for reference, now in looks)
            values += sum(len(reference) + len(now) for reference, now in looks)
        spent = time.process_time() - begin
        rows.append({"detector": name, "found": found, "us": round(1e6 * spent / values, 1)})
    return rows
