"""How popular items are in a segment, smoothed towards how popular they are among all users.

Of item i let w_si be the faded weight of the events of segment s's users, W_s = sum_i w_si, w_i the
weight of everybody's and W its sum. Then

    p(i) = w_i / W                p(i | s) = (w_si + m p(i)) / (W_s + m)

the mean of a Dirichlet posterior with the prior m p(.): a segment of weight m is believed half as
much as everybody is. It is the smoothing of language models by documents (MacKay and Peto, "A
Hierarchical Dirichlet Language Model", Natural Language Engineering 1(3), 1995; Zhai and Lafferty,
"A Study of Smoothing Methods for Language Models", TOIS 22(2), 2004). A segment in which nothing
was counted has p(i | s) = p(i), and with m = 0 a segment's own share stands alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def shares(weights: F64, total: float) -> F64:
    """Give p(i) of weights, float64 (n,); 0 where nothing was counted at all."""
    return weights / total if total > 0 else np.zeros_like(weights)


def smoothed(own: F64, own_total: float, overall: F64, prior: float) -> F64:
    """Give p(i | s) of n items, float64 (n,).

    Parameters
    ----------
    own, own_total
        The items' weights w_si in the segment, float64 (n,), and W_s.
    overall
        p(i), float64 (n,).
    prior
        m, 0 or more.
    """
    scale = own_total + prior
    return (own + prior * overall) / scale if scale > 0 else overall.copy()
