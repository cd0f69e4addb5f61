"""Exact shares beside LIME and SHAP: whether they rank a user's events alike, and what each costs.

    python -m benchmarks.explaining --vectors vectors.npz --replays stackexchange=FOLDER demo=FOLDER

Both packages ask a model again and again with some features left out, and fit a sum to what it says
(Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016; Lundberg and Lee, "A Unified
Approach to Interpreting Model Predictions", NeurIPS 2017). Here the features are a user's events,
and the model is the margin between two segments, of a profile of the events that are left in. The
shares of `models.segments.shares` need no fitting. The control: the same shares, shuffled.

Of replays' folders the surrogate's fidelity is told (`models.segments.surrogate`).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from benchmarks import machine
from benchmarks.flapping.texts import Posts, read_posts
from benchmarks.markdown import columns, named
from benchmarks.shared import DOCS, Figures, parser, run, say, write_page
from consumer.contract import folder as files
from consumer.settings import Settings
from models.distances import Floats, distances_to_all
from models.measures.offline import offline_kmeans
from models.profiles.rows import unit_rows
from models.profiles.sample import rank
from models.segments.shares import split_margin
from models.segments.surrogate import fit_surrogate
from schemas.profiles import ProfileRecord

PAGE = DOCS / "explanation.md"
SEGMENTS = 6
FEWEST, MOST = 6, 16
"""Events of a user: fewer have no order to speak of, and more would do for the peers what a
sample of them does not for us."""

LIME_SAMPLES = 1_000
REPEATS = 2_000
"""Resamples of the users, for an interval."""

Margin = Callable[[Floats], Floats]
"""From events left in, 0 or 1 (m, k), to margins (m,)."""


@dataclass(frozen=True, eq=False)
class Case:
    """A user's k events between the nearest centre and the next one.

    Attributes
    ----------
    vectors, weights
        float64 (k, d), and faded to the latest, (k,).
    nearer, farther
        Centres, float64 (d,).
    """

    vectors: Floats
    weights: Floats
    nearer: Floats
    farther: Floats

    def margins(self, left_in: Floats) -> Floats:
        """Give the margin with some of the events only; of none that of an empty profile."""
        totals = (np.asarray(left_in, np.float64) * self.weights) @ self.vectors
        both = np.stack([self.nearer, self.farther])
        distances = distances_to_all(unit_rows(totals), both)
        return distances[:, 1] - distances[:, 0]


def cases_of(posts: Posts, users: int) -> list[Case]:
    """Choose users by hash, with a segment model that was learned from all of them."""
    half_life = Settings().profile.half_life.total_seconds() * 1e6
    order = np.argsort(posts.users, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(posts.users[order])) + 1)
    weights = [
        posts.gains[rows] * 2.0 ** ((posts.times[rows] - posts.times[rows].max()) / half_life)
        for rows in groups
    ]
    totals = np.stack(
        [own @ posts.vectors[rows] for own, rows in zip(weights, groups, strict=True)]
    )
    profiles = unit_rows(totals.astype(np.float64))
    centres = offline_kmeans(profiles, SEGMENTS).centres
    fitting = [n for n, rows in enumerate(groups) if FEWEST <= len(rows) <= MOST]
    fitting.sort(key=lambda n: rank(posts.names[int(posts.users[groups[n][0]])]))
    made = []
    for n in fitting[:users]:
        near = np.argsort(distances_to_all(profiles[[n]], centres)[0])
        vectors = posts.vectors[groups[n]].astype(np.float64)
        made.append(Case(vectors, weights[n], centres[near[0]], centres[near[1]]))
    return made


def exact(case: Case) -> Floats:
    """Give the exact shares."""
    total = case.weights @ case.vectors
    split = split_margin(total, case.vectors, case.weights, case.nearer, case.farther, whole=True)
    return split.events


def shap(case: Case) -> Floats:
    """Give KernelSHAP's values, against a profile without any event."""
    from shap import KernelExplainer  # noqa: PLC0415 - an extra's, and slow to load

    count = len(case.weights)
    explainer = KernelExplainer(case.margins, np.zeros((1, count)))
    values: Floats = explainer.shap_values(np.ones((1, count)), silent=True)[0]
    return values


def lime(case: Case) -> Floats:
    """Give LIME's weights, of samples in which each event is there or not."""
    from lime.lime_tabular import LimeTabularExplainer  # noqa: PLC0415 - likewise

    count = len(case.weights)
    there = np.random.default_rng(0).integers(2, size=(64, count)).astype(np.float64)
    explainer = LimeTabularExplainer(
        there, mode="regression", categorical_features=range(count), random_state=0
    )
    found = explainer.explain_instance(
        np.ones(count), case.margins, num_features=count, num_samples=LIME_SAMPLES
    )
    values = np.zeros(count)
    for place, weight in found.as_map()[1]:
        values[place] = weight
    return values


def shuffled(case: Case) -> Floats:
    """Give the exact shares in an order of chance: what agrees with them says nothing."""
    return np.random.default_rng(len(case.weights)).permutation(exact(case))


METHODS = {"SHAP (KernelExplainer)": shap, "LIME (tabular)": lime, "shares, shuffled": shuffled}


def compared(cases: list[Case]) -> Figures:
    """Compare each method's ranks with those of the exact shares, user by user."""
    wanted, seconds = timed(exact, cases)
    rows = {"exact shares": {"milliseconds": seconds, "asked": 0.0}}
    for name, method in METHODS.items():
        say(f"{name} on {len(cases)} users")
        asked: list[int] = []
        found, seconds = timed(method, [counting(case, asked) for case in cases])
        agreeing = [agreement(*both) for both in zip(wanted, found, strict=True)]
        rows[name] = {
            "milliseconds": seconds,
            "asked": sum(asked) / (len(cases) + 1),  # the first one was asked twice
            **{
                f"{measure}{part}": value
                for measure in agreeing[0]
                for part, value in with_interval([each[measure] for each in agreeing]).items()
            },
        }
    return rows


class _Counting(Case):
    """A case that notes how many profiles are asked about."""

    asked: list[int]

    def margins(self, left_in: Floats) -> Floats:
        self.asked.append(len(left_in))
        return super().margins(left_in)


def counting(case: Case, asked: list[int]) -> Case:
    """Give a case that notes in a list how many profiles it is asked about."""
    made = _Counting(case.vectors, case.weights, case.nearer, case.farther)
    object.__setattr__(made, "asked", asked)
    return made


def timed(method: Callable[[Case], Floats], cases: list[Case]) -> tuple[list[Floats], float]:
    """Give what a method says of each case, and its milliseconds of processor time a user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method(cases[0])  # what is loaded and made once
        began = time.process_time()
        found = [method(case) for case in cases]
        return found, 1_000 * (time.process_time() - began) / len(cases)


def agreement(wanted: Floats, found: Floats) -> dict[str, float]:
    """Compare ranks; what ranks all alike agrees with nothing."""
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return {"spearman": 0.0, "kendall": 0.0, "first": 0.0}
    return {
        "spearman": float(spearmanr(wanted, found).statistic),
        "kendall": float(kendalltau(wanted, found).statistic),
        "first": float(wanted.argmax() == found.argmax()),
    }


def with_interval(values: list[float]) -> dict[str, float]:
    """Give the mean over users and its 95 % interval, by the bootstrap."""
    draw = np.random.default_rng(0)
    own = np.array(values)
    means = own[draw.integers(len(own), size=(REPEATS, len(own)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"": float(own.mean()), "_low": float(low), "_high": float(high)}


def fidelity(folder: Path) -> Figures:
    """Tell what the surrogate of a replay's users is worth, and how long it takes to learn."""
    with (folder / files.PROFILES).open("rb") as lines:
        profiles = [ProfileRecord.model_validate_json(line) for line in lines]
    inside = [each for each in profiles if each.segment is not None]
    ids = sorted({each.segment for each in inside if each.segment is not None})
    segments = np.searchsorted(ids, [each.segment for each in inside])
    began = time.process_time()
    found = fit_surrogate(
        [each.user_id for each in inside],
        segments,
        [each.terms for each in inside],
        len(ids),
        people=[each.user_id for each in profiles],
    )
    if found is None:
        raise SystemExit(f"{folder}: too few users with words to tell anything")
    low, high = found.interval
    return {
        "segments": len(ids),
        "learned": found.learned,
        "held_out": found.held_out,
        "fidelity": found.fidelity,
        "low": low,
        "high": high,
        "baseline": found.baseline,
        "rules": len(found.rules),
        "depth": found.depth,
        "seconds": time.process_time() - began,
    }


def parts(figures: Figures) -> dict[str, str]:
    """Write the tables of the page, and the sentence on them."""
    rows = named(figures["methods"])

    def interval(measure: str) -> Callable[[Any], str]:
        def cell(row: Any) -> str:
            if measure not in row:
                return "1"
            return (
                f"{row[measure]:.2f} ({row[measure + '_low']:.2f} to {row[measure + '_high']:.2f})"
            )

        return cell

    table = columns(
        rows,
        {
            "": "{name}",
            "Spearman": interval("spearman"),
            "Kendall": interval("kendall"),
            "same event first": interval("first"),
            "profiles asked about": "{asked:,.0f}",
            "ms a user": "{milliseconds:.2f}",
        },
        texts=1,
    )
    made = {"explanation-peers": f"{_sentence(figures)}\n\n{table}"}
    if figures.get("streams"):
        made["explanation-words"] = columns(
            named(figures["streams"]),
            {
                "stream": "{name}",
                "segments": "{segments}",
                "users learned from": "{learned:,}",
                "held out": "{held_out:,}",
                "fidelity": lambda row: (
                    f"{row['fidelity']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
                ),
                "largest segment": "{baseline:.2f}",
                "rules": "{rules}",
                "questions at most": "{depth}",
                "processor, s": "{seconds:.2f}",
            },
            texts=1,
        )
    return made


def _sentence(figures: Figures) -> str:
    """Say what the table comes to."""
    rows = figures["methods"]
    control = rows["shares, shuffled"]
    told = " and ".join(
        f"{rows[name]['spearman']:.2f} for {name.partition(' ')[0]}"
        for name in METHODS
        if name != "shares, shuffled"
    )
    exact_cost = rows["exact shares"]["milliseconds"]
    costs = " and ".join(
        f"{rows[name]['milliseconds'] / exact_cost:,.0f}"
        for name in METHODS
        if name != "shares, shuffled"
    )
    return (
        f"On {figures['users']} users with {FEWEST} to {MOST} events each, Spearman's rank "
        f"correlation with the exact shares is {told}; for the same shares shuffled it is "
        f"{control['spearman']:.2f}. The two take {costs} times the processor's time that the "
        "shares take, beside the texts' vectors, which all of them need."
    )


def measure(options: argparse.Namespace) -> Figures:
    """Measure all of it."""
    posts = read_posts(options.data, options.vectors)
    cases = cases_of(posts, options.users)
    return {
        "machine": machine.embedding_facts(),
        "users": len(cases),
        "events": float(np.mean([len(case.weights) for case in cases])),
        "methods": compared(cases),
        "streams": {name: fidelity(Path(folder)) for name, folder in pairs(options.replays)},
    }


def pairs(given: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Take what stands before and behind the first sign of each."""
    for each in given:
        name, _, folder = each.partition("=")
        yield name, folder


def main() -> None:
    """Measure, and write the page."""
    made = parser(__doc__ or "", "explaining.json", events=True, page=True)
    made.add_argument("--users", type=int, default=100)
    made.add_argument(
        "--replays",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        help="for the surrogate's fidelity",
    )
    options = made.parse_args()
    figures = run(options, lambda _: measure(options))
    for name, part in parts(figures).items():
        say(f"{name}\n{part}\n")
    write_page(PAGE, parts(figures))


if __name__ == "__main__":
    main()
