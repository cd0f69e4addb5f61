"""Factors of users and items, learned online from who chose what, by River's models.

Matrix factorisation with biases by stochastic gradient descent (Koren, Bell and Volinsky, "Matrix
Factorization Techniques for Recommender Systems", IEEE Computer 42(8), 2009), as River has it.

Most events carry no rating: that a user chose an item says something only beside items that were
not chosen. So with each event a few known items are drawn and learned with the target 0 (negative
sampling, as in Rendle et al., "BPR", UAI 2009, draws them). Draws hang on the seed and the number
of events learned alone.

River's `predict_one` makes a user or an item of whomever it is asked about, and keeps it. So it is
never asked about one that was not learned; and those learned are bounded: who was met least
recently goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

FactorModel = Literal["biased_mf", "funk_mf", "baseline"]
"""Biases and factors, factors alone, biases alone."""

_STEP = 0.05
_L2 = 0.02


class Factors:
    """A model of River's over bounded numbers of users and items.

    Parameters
    ----------
    model
        Which.
    dimensions
        Factors of each user and item.
    most_users, most_items
        How many are kept.
    negatives
        Items drawn with each event.
    seed
        Of the draws and of the first factors.
    """

    def __init__(
        self,
        model: FactorModel = "biased_mf",
        *,
        dimensions: int = 16,
        most_users: int = 100_000,
        most_items: int = 100_000,
        negatives: int = 3,
        seed: int = 0,
    ) -> None:
        self._model = _made(model, dimensions, seed)
        self._most = {"u": most_users, "i": most_items}
        self._negatives, self._seed = negatives, seed
        self.learned = 0
        """Events learned."""
        # Least recently met first. Items are drawn by their place, so a list of them lies beside.
        self._known: dict[str, OrderedDict[str, None]] = {"u": OrderedDict(), "i": OrderedDict()}
        self._items: list[str] = []
        self._places: dict[str, int] = {}

    @property
    def users(self) -> int:
        """Users known."""
        return len(self._known["u"])

    @property
    def items(self) -> int:
        """Items known."""
        return len(self._known["i"])

    def learn(self, user: str, item: str, target: float = 1.0) -> None:
        """Learn that a user chose an item.

        Parameters
        ----------
        user, item
            Their ids.
        target
            How much it was liked, in [0, 1]; 1 without a rating.
        """
        random = np.random.default_rng((self._seed, self.learned))
        self.learned += 1
        self._meet(user, item)
        self._model.learn_one(user=user, item=item, y=float(target))
        for place in random.integers(len(self._items), size=self._negatives).tolist():
            other = self._items[place]
            if other != item:
                self._model.learn_one(user=user, item=other, y=0.0)

    def scores(self, user: str, items: Sequence[str]) -> F64 | None:
        """Say how much a user would like items, float64 (n,), NaN of items not known.

        None where the user is not known. Nobody gets known by being asked about.
        """
        if user not in self._known["u"]:
            return None
        model, known = self._model, self._known["i"]
        found = np.full(len(items), np.nan)
        asked = [place for place, item in enumerate(items) if item in known]
        names = [items[place] for place in asked]
        # FunkMF has neither mean nor biases, Baseline no factors.
        mean = model.global_mean.get() if hasattr(model, "global_mean") else 0.0
        scores = np.full(len(names), float(mean))
        if hasattr(model, "u_biases"):
            scores += model.u_biases[user] + np.array([model.i_biases[name] for name in names])
        if hasattr(model, "u_latents") and names:
            latents = np.array([model.i_latents[name] for name in names])
            scores += np.add.reduce(latents * model.u_latents[user], axis=1)
        found[asked] = scores
        return found

    def forget(self, items: Sequence[str]) -> None:
        """Forget items that are withdrawn; those not known are passed over."""
        for item in items:
            if item in self._known["i"]:
                self._drop("i", item)

    def _meet(self, user: str, item: str) -> None:
        for kind, name in (("u", user), ("i", item)):
            known = self._known[kind]
            if kind == "i" and name not in known:
                self._places[name] = len(self._items)
                self._items.append(name)
            known[name] = None
            known.move_to_end(name)
            while len(known) > self._most[kind]:
                self._drop(kind, next(iter(known)))

    def _drop(self, kind: str, name: str) -> None:
        del self._known[kind][name]
        for weights in ("biases", "latents"):
            getattr(self._model, f"{kind}_{weights}", {}).pop(name, None)
        if kind == "i":
            # The last one takes its place in the list.
            place, last = self._places.pop(name), self._items.pop()
            if last != name:
                self._items[place] = last
                self._places[last] = place


def _made(model: FactorModel, dimensions: int, seed: int) -> Any:
    from river import optim, reco  # noqa: PLC0415 - loaded by who learns

    if model == "baseline":
        return reco.Baseline(optimizer=optim.SGD(_STEP), l2=_L2)
    first = optim.initializers.Normal(sigma=0.1, seed=seed)
    if model == "funk_mf":
        return reco.FunkMF(dimensions, optimizer=optim.SGD(_STEP), l2=_L2, initializer=first)
    return reco.BiasedMF(
        dimensions,
        bias_optimizer=optim.SGD(_STEP),
        latent_optimizer=optim.SGD(_STEP),
        l2_bias=_L2,
        l2_latent=_L2,
        latent_initializer=first,
    )
