"""Flapping against lag: how often users change segment, and how late, by the assignment's settings.

    python -m benchmarks.stability --vectors vectors.npz

Simulated users change their interest once, at a known event. The posts of the data set are the
other side: their authors keep to one topic each. Confidence is compared with how often it is right.
Then both builds, 48f6e1e and this one, are compared in what their models move (`flapping.builds`).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.flapping import builds, report, simulation, stream
from benchmarks.flapping.simulation import Scenario
from benchmarks.flapping.texts import (
    Floats,
    MadeUpTexts,
    Posts,
    RealTexts,
    Texts,
    measure_noise,
    read_posts,
)
from benchmarks.interests.plan import Shape, plan, squeezed
from benchmarks.interests.plan import posts as posts_of
from benchmarks.interests.texts import vectors_like_texts
from benchmarks.pipeline.builds import former_build
from benchmarks.shared import DOCS, Figures, parser, run, say, write_page
from consumer.settings import Settings
from models.segments.policy import AssignmentPolicy

PAGE, PICTURE = DOCS / "stability.md", DOCS / "stability.png"

ONLY = ("policies", "builds")
BUILDS = "stability-builds.json"

FREE = AssignmentPolicy(margin_share=0, thin_margin_share=0, dwell_events=0)
"""Always in the nearest segment."""

MARGINS = (0.0, 0.03, 0.06, 0.09, 0.12, 0.18, 0.24)
THIN = (0.0, 0.24, 0.36, 0.48)
DWELLS = (0, 3, 5, 8)
LEAST_EVENTS = (2, 3)
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
COSINES = (0.0, 0.5, 0.81)
"""Between any two texts: a constant is mixed into all vectors. Some models do so by themselves."""
HALF_LIVES = (45, 90, 180, 365, 730)
LEAST_SURE = (0.5, 0.7, 0.9)
MANY = (6, 12, 24, 48)
"""Numbers of segments at which it is counted who is how sure."""
EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Of the bins in which confidence is compared with the share that is right."""


def policies() -> list[AssignmentPolicy]:
    """Every margin, with that of a single text or without; each of these; later entries; sureness.

    All with every dwell. What is not varied is the default.
    """
    usual = Settings().assignment
    margin, thin = usual.margin_share, usual.thin_margin_share
    margins = {*itertools.product(MARGINS, (0.0, thin)), *itertools.product((margin,), THIN)}
    swept = [
        AssignmentPolicy(margin_share=each, thin_margin_share=of_one, dwell_events=dwell)
        for (each, of_one), dwell in itertools.product(sorted(margins), DWELLS)
    ]
    swept += [usual.model_copy(update={"min_events": least}) for least in LEAST_EVENTS]
    return swept + [
        AssignmentPolicy(
            margin_share=0,
            thin_margin_share=0,
            dwell_events=usual.dwell_events,
            min_confidence=least,
        )
        for least in CONFIDENCES
    ]


def scenarios(posts: Posts, users: int) -> dict[str, tuple[str, Scenario, Texts]]:
    """Who is simulated, by the name among the figures: with a label."""
    real = RealTexts(posts)
    usual = Scenario(users=users)
    return {
        "real": ("real texts, 7 of 10 on the interest", usual, real),
        "made_up": (
            "made-up texts, 7 of 10 on the interest",
            usual,
            MadeUpTexts(measure_noise(posts)),
        ),
        "steady": ("real texts, all on the interest", replace(usual, focus=1.0), real),
        "torn": ("real texts, 5 of 10 on the interest", replace(usual, focus=0.5), real),
    }


def named(policy: AssignmentPolicy) -> Figures:
    """Give a policy's thresholds as they stand among the figures."""
    return {
        name: value for name, value in policy.model_dump().items() if name != "max_distance_share"
    }


def sweep(follow: Callable[[AssignmentPolicy], Any], tried: Iterable[AssignmentPolicy]) -> Any:
    """Follow each policy: its thresholds and its figures, rounded."""
    return [
        named(policy) | {name: round(value, 4) for name, value in asdict(follow(policy)).items()}
        for policy in tried
    ]


def reliability(sure: Floats, right: NDArray[np.bool_]) -> list[Figures]:
    """Compare confidence with the share that is right, bin by bin."""
    bins = []
    for low, high in itertools.pairwise(EDGES):
        inside = (sure >= low) & ((sure < high) | (high == EDGES[-1]))
        if inside.any():
            bins.append(
                {
                    "from": low,
                    "to": high,
                    "decisions": int(inside.sum()),
                    "confidence": round(float(sure[inside].mean()), 4),
                    "right": round(float(right[inside].mean()), 4),
                }
            )
    return bins


def squeezes(posts: Posts, settings: Settings) -> list[Figures]:
    """Run the stream, and one of twenty interests, with a constant mixed into all vectors."""
    planned, texts = plan(Shape()), vectors_like_texts()
    of_many = settings.model_copy(
        update={"training": settings.training.model_copy(update={"segments": Shape().interests})}
    )
    found = []
    for name, of, run_by in (
        ("of the stream", posts, settings),
        ("made up, of twenty interests", posts_of(planned, texts), of_many),
    ):
        for cosine in COSINES:
            say(f"running users {name}, with a cosine of {cosine} more")
            course = stream.run(replace(of, vectors=squeezed(of.vectors, cosine)), run_by)
            free, default = sweep(partial(stream.follow, course), (FREE, settings.assignment))
            sure, right = stream.judged_by_the_last_model(course)
            found.append(
                {
                    "users": name,
                    "cosine": cosine,
                    "free": free,
                    "default": default,
                    "confidence": round(float(sure.mean()), 4),
                    "right": round(float(right.mean()), 4),
                }
            )
    return found


def measure(posts: Posts, users: int) -> Figures:
    """Sweep everything; gives all figures."""
    default = Settings().assignment
    figures: Figures = {
        "default": named(default),
        "noise": asdict(measure_noise(posts)),
        "least_sure": LEAST_SURE,
        "scenarios": {},
        "reliability": {},
    }
    for name, (label, scenario, texts) in scenarios(posts, users).items():
        say(f"simulating {label}")
        course = simulation.simulate(scenario, texts)
        rows = sweep(lambda policy, course=course: simulation.follow(course, policy), policies())
        figures["scenarios"][name] = {"label": label, "users": asdict(scenario), "rows": rows}
        bins = reliability(*simulation.judged_before_the_change(course))
        figures["reliability"][name] = {"label": label, "bins": bins}
    say("simulating half-lives")
    usual, texts = Scenario(users=users), RealTexts(posts)
    figures["half_lives"] = []
    for days in HALF_LIVES:
        course = simulation.simulate(replace(usual, half_life_days=days), texts)
        follow = [asdict(simulation.follow(course, policy)) for policy in (FREE, default)]
        figures["half_lives"].append({"days": days, "free": follow[0], "default": follow[1]})
    say("running the stream")
    settings = Settings()
    real = stream.run(posts, settings)
    figures["stream"] = {
        "users": len(posts.names),
        "events": len(posts.users),
        "versions": sum(step.by_model for step in real.steps),
        "rows": sweep(lambda policy: stream.follow(real, policy), policies()),
    }
    bins = reliability(*stream.judged_by_the_last_model(real))
    figures["stream"]["sure"] = {
        str(segments): stream.sure_by_segments(real, segments, LEAST_SURE) for segments in MANY
    }
    figures["squeezed"] = squeezes(posts, settings)
    figures["reliability"]["stream"] = {"label": "the stream", "bins": bins}
    return figures


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "stability.json", events=True, picture=PICTURE, page=True)
    made.add_argument("--users", type=int, default=1200, help="simulated users")
    made.add_argument("--only", choices=ONLY, help="this part alone; the other's figures stay")
    made.add_argument("--against", type=Path, help="a checkout of another version with its .venv")
    return made.parse_args(given)


def main() -> None:
    options = parse()
    if options.only != "builds":
        figures = run(
            options, lambda _: measure(read_posts(options.data, options.vectors), options.users)
        )
        report.draw(figures, options.picture)
        write_page(PAGE, {name: part(figures) for name, part in report.PARTS.items()})
    if options.only != "policies":
        options.output = options.output.with_name(BUILDS)
        figures = run(
            options,
            lambda folder: builds.measure(
                options.against or former_build(),
                builds.streams(options.data, options.vectors),
                folder,
            ),
        )
        builds.draw(figures, builds.PICTURE)
        write_page(PAGE, {"stability-builds": builds.text(figures)})


if __name__ == "__main__":
    main()
