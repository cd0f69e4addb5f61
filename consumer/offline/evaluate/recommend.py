"""How good recommendations are: `segmenter evaluate --recommend`.

The events of the last part of the stream are to be foretold. They are cut into steps of time, and
before each step every method learns from the events before it, popularity too: what is popular is
what was popular by then (Ji et al., "A Re-visit of the Popularity Baseline in Recommender Systems",
SIGIR 2020). For each user with an event in the step all items known by then are ranked, but those
that the user has had. Relevant are those that the user chooses in the step for the first time. What
is not known by then nobody can foretell; how many choices that takes out is told.

What is chosen is chosen on steps before, by NDCG@10: the half-life for global popularity, which all
others are measured against; by that how much a segment's popularity is smoothed, for the segment's
own list; and by both the weights of the mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np

from consumer.contract.errors import UsageError
from consumer.offline.evaluate.choices import Choices, latest
from consumer.offline.evaluate.recommenders import Past, has_als, summed
from models.distances import Floats, Ints
from models.measures.rankings import (
    MEASURES,
    Bootstrap,
    Interval,
    coverage,
    measured,
    novelty,
    order_of,
)
from models.profiles.policy import ProfilePolicy
from models.recommendation.factors import Factors
from models.recommendation.policy import RecommendationPolicy
from models.recommendation.relations import Relation, flows_of, relations
from schemas.segment_model import NO_SEGMENT

POPULARITY = "popularity"
CONTROL = "shuffled segments"
SEGMENT = "segment"
MIXTURE = "segment and user"
LEAK = "popularity that knows the step (a leak)"

METHODS: dict[str, Callable[[Past, Ints], Floats]] = {
    POPULARITY: Past.popular,
    "recent popularity": Past.recent,
    "category": Past.in_category,
    CONTROL: Past.in_shuffled,
    SEGMENT: Past.in_segment,
    MIXTURE: Past.mixed,
    "text": Past.similar,
    "item-kNN": Past.neighbours,
    "ALS": Past.als,
    "factors": Past.factorised,
}
"""In the order of the table."""

PAST_EVENTS = ((0, 0), (1, 2), (3, 5), (6, None))
"""Classes of users by their events before the step."""

TEST, CHOOSING = 0.2, 0.1
"""Shares of the events: those to be foretold, and those before on which weights are chosen."""
STEPS = 20
LEAST_USERS = 20
"""Users without whom a class has no figures."""

_FIRST = 10
_HALF_LIVES = (7.0, 30.0, 180.0)
"""In days."""
_PRIORS = (1000.0, 200.0, 50.0, 20.0, 5.0, 1.0)
"""In events; the first one is nearly popularity among all users."""
_WEIGHTS = ((0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.5, 1.0))


@dataclass(frozen=True)
class MethodFigures:
    """A method's figures over some users.

    Attributes
    ----------
    measures
        By name, means over users with their intervals.
    against
        The difference to global popularity, likewise, over the same draws of users.
    coverage
        Share of the known items that were among the first ten of anybody.
    novelty
        Bits, of the first ten.
    """

    measures: dict[str, Interval]
    against: dict[str, Interval]
    coverage: float
    novelty: float


@dataclass(frozen=True)
class ClassFigures:
    """Users of a class by their past events, from `least` to `most`, None for no end."""

    least: int
    most: int | None
    users: int
    rankings: int
    methods: dict[str, MethodFigures]


@dataclass(frozen=True)
class RecommendFigures:
    """What `evaluate --recommend` found.

    Attributes
    ----------
    events, users, items
        Events that name an item, and of how many.
    to_foretell, of_unknown, had
        Choices in the steps: all, those of items not known by then, and those the user had before.
    chosen
        The half-life, the prior weight and the weights of the mixture, chosen on earlier steps.
    prior_weights
        NDCG@10 of the segment's items on those steps, by the prior weight.
    without
        Methods that were not measured, since a library is not installed.
    classes
        All users first, then by their past events.
    relations
        Of the segments, over all events.
    """

    events: int
    users: int
    items: int
    segments: int
    to_foretell: int
    of_unknown: int
    had: int
    steps: int
    chosen: dict[str, float]
    prior_weights: dict[str, float]
    without: tuple[str, ...]
    classes: tuple[ClassFigures, ...]
    relations: tuple[Relation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give all as plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Query:
    user: int
    relevant: Ints


@dataclass(eq=False)
class _Judged:
    """Rankings of one method: measures float64[q, 4], the first ten of each, and their novelty."""

    measures: list[Floats]
    firsts: list[Ints]
    bits: list[float]


@dataclass(eq=False)
class _Steps:
    """Walks the steps of a stretch of the stream, with the past of each."""

    choices: Choices
    policy: RecommendationPolicy
    profile: ProfilePolicy
    stand_in: Ints
    factors: Factors
    learned: int = 0

    def walk(self, first: int, end: int, count: int) -> Iterator[tuple[Past, int]]:
        """Give the past of each step, and where the step ends."""
        bounds = np.linspace(first, end, count + 1).round().astype(int).tolist()
        for start, stop in pairwise(bounds):
            if stop > start:
                yield self.past(start), stop

    def past(self, end: int) -> Past:
        """Give what is known before an event, learning what was not learned yet."""
        choices = self.choices
        for place in range(self.learned, end):
            user, item = choices.users[choices.user[place]], choices.items[choices.item[place]]
            self.factors.learn(user, item)
        self.learned = max(self.learned, end)
        now = int(choices.time[min(end, len(choices) - 1)])
        return Past(choices, end, now, self.policy, self.profile, self.stand_in, self.factors)


def evaluate_choices(
    choices: Choices,
    policy: RecommendationPolicy,
    profile: ProfilePolicy,
    *,
    steps: int = STEPS,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> RecommendFigures:
    """Rank items for users, step by step, by each method, and judge the rankings.

    Parameters
    ----------
    choices
        Events that name items.
    policy, profile
        How popularity and profiles fade, and how they are mixed; the half-life of popularity and
        the weights of the mixture are chosen here.
    steps
        Into how many parts the events to foretell are cut.
    seed
        Of the control, of the factors and of the draws of users.
    say
        Told what is being done.

    Raises
    ------
    UsageError
        Where there is nothing that could be foretold.
    """
    first = round(len(choices) * (1 - TEST))
    before = round(len(choices) * (1 - TEST - CHOOSING))
    stand_in = _shuffled(choices, first, seed)
    walker = _Steps(choices, policy, profile, stand_in, Factors(seed=seed))
    say("choosing the half-life, the prior weight and those of the mixture on the steps before")
    count = max(1, steps // 2)
    walker.policy, priors = _smoothed(walker, before, first, count)
    walker.policy = policy = _mixed(walker, before, first, count)
    without = () if has_als() else ("ALS",)
    methods = {name: method for name, method in METHODS.items() if name not in without}
    judged = {name: _Judged([], [], []) for name in (*methods, LEAK)}
    users, events, known = list[int](), list[int](), np.zeros(0, bool)
    of_unknown = had = 0
    for number, (past, stop) in enumerate(walker.walk(first, len(choices), steps), 1):
        say(f"step {number} of {steps}: {past.end:,} events known")
        queries, unknown, again = _queries(past, stop)
        of_unknown, had, known = of_unknown + unknown, had + again, past.known
        if not queries:
            continue
        asked = np.array([query.user for query in queries])
        for name, method in methods.items():
            _judge(judged[name], past, queries, method(past, asked))
        leak = np.bincount(choices.item[past.end : stop], minlength=len(choices.items))
        _judge(judged[LEAK], past, queries, np.tile(leak + past.overall, (len(asked), 1)))
        users += asked.tolist()
        events += past.events[asked].tolist()
    if not users:
        raise UsageError(
            f"of {len(choices):,} events with an item none of the last {TEST:.0%} is a user's "
            "first with an item that was known before: there is nothing to foretell"
        )
    who, how_many = np.array(users), np.array(events)
    classes = [
        _figures(judged, who, how_many, (least, most), items=int(known.sum()), seed=seed)
        for least, most in ((0, None), *PAST_EVENTS)
    ]
    return RecommendFigures(
        events=len(choices),
        users=len(choices.users),
        items=len(choices.items),
        segments=len(set(choices.segment.tolist()) - {NO_SEGMENT}),
        to_foretell=len(choices) - first,
        of_unknown=of_unknown,
        had=had,
        steps=steps,
        chosen={
            "half_life_days": policy.half_life_days,
            "prior_weight": policy.prior_weight,
            "own_weight": policy.own_weight,
            "similarity_weight": policy.similarity_weight,
        },
        prior_weights=priors,
        without=without,
        classes=tuple(classes),
        relations=tuple(_relations(walker.past(len(choices)))),
    )


def _relations(past: Past) -> list[Relation]:
    """Relate the segments by all events there are."""
    choices = past.choices
    ids = sorted(set(choices.segment.tolist()) - {NO_SEGMENT})
    weights, means = [], []
    for segment in ids:
        own = np.where(choices.segment == segment, past.weights, 0.0)
        weights.append(summed(choices.item, own, len(choices.items)))
        means.append(own @ choices.vectors / max(float(own.sum()), np.finfo(np.float64).tiny))
    if not ids:
        return []
    flows = flows_of(choices.user, choices.segment, ids)
    return relations(ids, np.stack(weights), flows, np.stack(means))


def _shuffled(choices: Choices, first: int, seed: int) -> Ints:
    """Deal the users' segments out among them at random."""
    segments = latest(choices.user[:first], choices.segment[:first], len(choices.users), NO_SEGMENT)
    random = np.random.default_rng(seed)
    held = segments[segments != NO_SEGMENT]
    # Users who come later get one as well, of the same distribution: no method knows who comes.
    return random.permutation(random.choice(held, len(segments)) if len(held) else segments)


def _queries(past: Past, stop: int) -> tuple[list[_Query], int, int]:
    """Give who chooses what in a step; choices of unknown items, and of those had, are counted."""
    users = past.choices.user[past.end : stop]
    items = past.choices.item[past.end : stop]
    known = past.known[items]
    again = np.asarray(past.had[users, items]).ravel() > 0
    pairs = np.unique(np.stack([users, items], axis=1)[known & ~again], axis=0)
    queries = [
        _Query(user, pairs[pairs[:, 0] == user, 1]) for user in np.unique(pairs[:, 0]).tolist()
    ]
    return queries, int((~known).sum()), int((known & again).sum())


def _judge(into: _Judged, past: Past, queries: list[_Query], scores: Floats) -> None:
    taken = np.asarray(past.had.sum(axis=0)).ravel()
    everybody = max(1, int((past.events > 0).sum()))
    for query, own in zip(queries, scores, strict=True):
        shown = np.where(past.known, own, -np.inf)
        shown[past.had[[query.user]].indices] = -np.inf
        # Who is not known to a method gets what is popular.
        order = order_of(shown, past.overall)
        into.measures.append(measured(order, query.relevant))
        into.firsts.append(order[:_FIRST])
        into.bits.append(novelty(order[:_FIRST], taken, everybody))


def _smoothed(
    walker: _Steps, first: int, end: int, steps: int
) -> tuple[RecommendationPolicy, dict[str, float]]:
    """Choose the half-life and the prior weight; of equals what trusts segments least.

    Returns
    -------
    tuple
        The policy, and NDCG@10 of the segment's items by prior weight.
    """
    halves = [walker.policy.model_copy(update={"half_life_days": days}) for days in _HALF_LIVES]
    popular, smoothed = np.zeros(len(halves)), np.zeros((len(halves), len(_PRIORS)))
    rankings = 0
    # No factors here, so none are learned: they go on with the stream, and are asked later.
    bare = replace(walker, learned=len(walker.choices))
    for past, stop in bare.walk(first, end, steps):
        queries, _, _ = _queries(past, stop)
        rankings += len(queries)
        if not queries:
            continue
        for number, half in enumerate(halves):
            popular[number] += _worth(replace(past, policy=half), queries, Past.popular)
            for place, prior in enumerate(_PRIORS):
                under = replace(past, policy=half.model_copy(update={"prior_weight": prior}))
                smoothed[number, place] += _worth(under, queries, Past.in_segment)
    best = int(popular.argmax())
    own = smoothed[best]
    told = {f"{prior:g}": float(own[n]) / max(rankings, 1) for n, prior in enumerate(_PRIORS)}
    chosen = halves[best].model_copy(update={"prior_weight": _PRIORS[int(own.argmax())]})
    return chosen, told


def _mixed(walker: _Steps, first: int, end: int, steps: int) -> RecommendationPolicy:
    """Choose the weights of the mixture; of equals what counts the user least."""
    policies = [
        walker.policy.model_copy(update={"own_weight": own, "similarity_weight": similar})
        for own, similar in product(*_WEIGHTS)
        # Without own evidence its parts do not matter.
        if own > 0 or similar == 0
    ]
    worth = np.zeros(len(policies))
    for past, stop in walker.walk(first, end, steps):
        queries, _, _ = _queries(past, stop)
        # The factors go on with the stream, so all is tried in one walk.
        for place, policy in enumerate(policies if queries else ()):
            past.policy = policy
            worth[place] += _worth(past, queries, Past.mixed)
    return policies[int(worth.argmax())]


def _worth(past: Past, queries: list[_Query], method: Callable[[Past, Ints], Floats]) -> float:
    judged = _Judged([], [], [])
    _judge(judged, past, queries, method(past, np.array([query.user for query in queries])))
    return float(sum(each[MEASURES.index("ndcg@10")] for each in judged.measures))


def _figures(
    judged: dict[str, _Judged],
    users: Ints,
    events: Ints,
    bounds: tuple[int, int | None],
    *,
    items: int,
    seed: int,
) -> ClassFigures:
    least, most = bounds
    inside = np.flatnonzero((events >= least) & (events <= (most if most is not None else np.inf)))
    count = len(np.unique(users[inside]))
    methods: dict[str, MethodFigures] = {}
    if count >= LEAST_USERS:
        bootstrap = Bootstrap(users[inside], seed=seed)
        base = np.stack(judged[POPULARITY].measures)[inside]
        for name, each in judged.items():
            own = np.stack(each.measures)[inside]
            methods[name] = MethodFigures(
                measures=_intervals(bootstrap, own),
                against=_intervals(bootstrap, own - base),
                coverage=coverage([each.firsts[place] for place in inside.tolist()], items),
                novelty=float(np.mean([each.bits[place] for place in inside.tolist()])),
            )
    return ClassFigures(least, most, count, len(inside), methods)


def _intervals(bootstrap: Bootstrap, values: Floats) -> dict[str, Interval]:
    return {name: bootstrap.interval(values[:, place]) for place, name in enumerate(MEASURES)}
