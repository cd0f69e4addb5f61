"""From hundreds of dimensions to the two of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_FITTED_ROWS = 5_000


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane in which vectors differ most, and the share of the variance that it shows.

    `origin` is float64[d], `axes` float64[2, d] with rows of length 1.
    """

    origin: Floats
    axes: Floats
    explained: float

    def project(self, vectors: ArrayLike) -> Floats:
        """Project float[n, d] to float64[n, 2]."""
        flat: Floats = (np.asarray(vectors, dtype=np.float64) - self.origin) @ self.axes.T
        return flat


def principal_plane(vectors: ArrayLike) -> Plane:
    """Fit the first two principal components, with signs that do not depend on the solver.

    Of more than some thousand rows a part is taken, evenly spread, which costs the picture nothing.
    The entry of each axis that is largest in magnitude is made positive (as scikit-learn's
    `svd_flip` does), so that the same users always give the same picture and not its mirror image.

    Parameters
    ----------
    vectors
        float[n, d]. Any n and d, also 0 and 1.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if len(rows) > _FITTED_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _FITTED_ROWS).astype(np.int64)]
    d = rows.shape[1]
    axes = np.zeros((2, d))
    if len(rows) == 0:
        return Plane(np.zeros(d), axes, 0.0)
    origin = rows.mean(axis=0)
    centred = rows - origin
    # Of the d x d products of the columns: a hundredth of the time of a decomposition of all rows.
    values, vectors_of = np.linalg.eigh(centred.T @ centred)
    variance, components = np.maximum(values[::-1], 0.0), vectors_of[:, ::-1].T
    found = min(2, int((variance > 1e-12 * len(rows)).sum()))
    axes[:found] = components[:found]
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.where(axes[np.arange(2), largest] < 0, -1.0, 1.0)[:, None]
    total = float(variance.sum())
    return Plane(origin, axes, float(variance[:found].sum()) / total if total > 0 else 0.0)
