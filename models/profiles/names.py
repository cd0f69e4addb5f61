"""Names that many users share, as numbers: segment labels, labels given and labels predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]

_FIRST_SWEEP = 1024


class Names:
    """Codes of names; 0 is no name.

    Every version of a segment model may publish names of its own, so names that nobody has any more
    are let go when their number has doubled.

    Parameters
    ----------
    in_use
        Counts users by code, int64 (at least as long as the highest code in use + 1).
    """

    def __init__(self, in_use: Callable[[], NDArray[np.int64]], sweep: int = _FIRST_SWEEP) -> None:
        self._names: list[str | None] = [None]
        self._codes: dict[str | None, int] = {None: 0}
        self._free: list[int] = []
        self._in_use = in_use
        self._first_sweep = self._sweep_at = sweep

    def codes(self, names: Sequence[str | None]) -> Codes:
        """Give the codes of names, new ones for those not known."""
        if names.count(None) == len(names):
            return np.zeros(len(names), np.int32)
        known = self._codes
        for name in set(names):
            if name not in known:
                self._add(name)
        return np.fromiter(map(known.__getitem__, names), np.int32, len(names))

    def names(self, codes: Codes) -> list[str | None]:
        """Give the names of codes."""
        if not codes.any():
            return [None] * len(codes)
        return list(map(self._names.__getitem__, codes.tolist()))

    def listed(self) -> list[str | None]:
        """Copy the names of the codes from 1 up, None where a code is free."""
        return self._names[1:]

    def load(self, names: Sequence[str | None]) -> None:
        """Set the names of the codes from 1 up, no name twice, before any is added."""
        self._names = [None, *names]
        self._free = [code for code, name in enumerate(names, 1) if name is None]
        self._codes = {None: 0} | {
            name: code for code, name in enumerate(names, 1) if name is not None
        }

    def sweep(self) -> None:
        """Let names go that nobody has, if there are many by now; between two uses of codes."""
        if len(self._names) - len(self._free) < self._sweep_at:
            return
        counts = self._in_use()
        for code in range(1, len(self._names)):
            name = self._names[code]
            if name is not None and (code >= len(counts) or not counts[code]):
                del self._codes[name]
                self._names[code] = None
                self._free.append(code)
        self._sweep_at = max(self._first_sweep, 2 * len(self._codes))

    def _add(self, name: str | None) -> None:
        if self._free:
            code = self._free.pop()
            self._names[code] = name
        else:
            code = len(self._names)
            self._names.append(name)
        self._codes[name] = code
