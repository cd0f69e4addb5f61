"""How good recommendations by segment are: on two made-up streams, and on real events.

    python -m benchmarks.recommend [--data FILE] [--vectors FILE.npz]
    python -m benchmarks.recommend --render

On one made-up stream segments matter by construction, on the other nothing but popularity does:
what is found on the first and not on the second is what the measuring itself can tell. Each text is
embedded once; the segments are learned along, by `segmenter evaluate --recommend`. What comes out
goes to `benchmarks/results/`, and from there into docs/evaluation.md.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.interests.plan import Shape, plan
from benchmarks.interests.texts import vectors_like_texts
from benchmarks.markdown import columns, render, table
from benchmarks.recommending.streams import KINDS, Kind, item_events
from benchmarks.shared import DOCS, Figures, parser, read, say, write
from benchmarks.worker_stage import Lookup, event_vectors, lookup_of
from consumer.offline.evaluate.recommend import MIXTURE, POPULARITY
from consumer.offline.evaluate.recommending import evaluate_recommendations, replayed_choices
from consumer.offline.files import event_file, read_records
from consumer.settings import Settings
from models.recommendation.policy import RecommendationPolicy

PAGE = DOCS / "evaluation.md"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHAPE = Shape(interests=12, users=1500, events=8)
REAL = "Stack Exchange"
CATEGORIES: dict[str, str] = {REAL: "tags", **dict.fromkeys(KINDS, "label")}
"""What an item's category is taken from, in the file's objects."""
# The ratings of Stack Exchange are votes, without a scale: so wide a one makes each event count 1.
POLICIES = {REAL: RecommendationPolicy(rating_low=-1e12, rating_high=1e12)}


def main() -> None:
    """Measure, or only render."""
    options_of = parser(__doc__ or "", "recommend.json", events=True, page=True)
    options_of.add_argument(
        "--only", action="append", choices=(*KINDS, REAL), help="measure these alone; repeatable"
    )
    options = options_of.parse_args()
    if not options.render:
        found = read(options.output) if options.output.exists() and options.only else {}
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for name in options.only or (*KINDS, REAL):
                say(name)
                if name == REAL:
                    stored = options.vectors or Path(folder) / "vectors.npz"
                    found[name] = real(options.data, stored)
                else:
                    found[name] = made_up(name, Path(folder) / "events.jsonl")
        write(options.output, found)
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), options.output), encoding="utf-8")


def made_up(kind: Kind, path: Path, shape: Shape = SHAPE, seed: int = 0) -> Figures:
    """Measure one of the made-up streams, which is written to a file first."""
    planned = plan(shape, seed)
    lines = [json.dumps(each) + "\n" for each in item_events(planned, kind, seed=seed)]
    path.write_text("".join(lines), encoding="utf-8")
    random = np.random.default_rng((seed, 4))
    vectors = vectors_like_texts().draw(planned.chosen[planned.about], random)
    return _measured(kind, path, np.arange(len(lines)), vectors.astype(np.float32))


def real(path: Path, stored: Path) -> Figures:
    """Measure real events; `stored` are the vectors of their texts, made where they are not."""
    accepted, vectors = event_vectors(path, stored)
    return _measured(REAL, path, accepted, vectors)


def _measured(name: str, path: Path, accepted: np.ndarray, vectors: np.ndarray) -> Figures:
    settings = Settings()
    records = list(read_records(path, settings.topics.events, settings.events.intake()))
    embedder: Lookup = lookup_of(records, accepted.tolist(), vectors)
    file = event_file(path, settings.events.intake())
    choices = replayed_choices(
        file,
        settings,
        embedder,
        category=CATEGORIES[name],
        policy=POLICIES.get(name),
        now=NOW,
    )
    return evaluate_recommendations(choices, settings, say=say).to_dict()


def rendered(text: str, output: Path) -> str:
    """Give the page's text with the tables of the figures in a file; the rest stays."""
    if not output.exists():
        return text
    found = read(output)
    parts = [f"{_sizes(found)}\n", f"{_priors(found)}\n", _against(found)]
    parts += [f"{name}, all users:\n\n{_methods(each)}" for name, each in found.items()]
    return render(text, "recommendations", "\n\n".join(parts))


def _sizes(found: dict[str, Figures]) -> str:
    return columns(
        [{"name": name, **each, **each["chosen"]} for name, each in found.items()],
        {
            "stream": "{name}",
            "events": "{events:,}",
            "users": "{users:,}",
            "items": "{items:,}",
            "segments": "{segments}",
            "to foretell": "{to_foretell:,}",
            "of items not known by then": "{of_unknown:,}",
            "half-life": "{half_life_days:g} days",
            "prior weight": "{prior_weight:g}",
            "own weight": "{own_weight:g}",
            "of it text": "{similarity_weight:g}",
        },
        texts=1,
    )


def _priors(found: dict[str, Figures]) -> str:
    """Write NDCG@10 of the segment's items on the steps before, by the prior weight."""
    priors = list(next(iter(found.values()))["prior_weights"])
    rows = [
        [name, *(f"{each['prior_weights'][prior]:.4f}" for prior in priors)]
        for name, each in found.items()
    ]
    tried = [each["prior_weights"] for each in found.values()]
    least = [min(each[prior] / max(each.values()) for each in tried) for prior in priors]
    rows.append(["least share of a stream's best", *(f"{share:.1%}" for share in least)])
    return table(["NDCG@10 by prior weight", *priors], rows, texts=1)


def _against(found: dict[str, Figures]) -> str:
    """Write what segments, and segment and user, add to popularity, by users' past events."""
    rows = []
    for name, figures in found.items():
        for group in figures["classes"]:
            if not group["methods"]:
                continue
            base = group["methods"][POPULARITY]["measures"]["ndcg@10"]["mean"]
            gaps = [
                group["methods"][method]["against"]["ndcg@10"]
                for method in ("segment", "shuffled segments", MIXTURE)
            ]
            rows.append([name, _who(group), f"{group['users']:,}", f"{base:.3f}", *map(_gap, gaps)])
    head = ["stream", "past events", "users", POPULARITY, "segment", "shuffled segments", MIXTURE]
    return table(head, rows, texts=2)


def _methods(figures: Figures) -> str:
    methods = figures["classes"][0]["methods"]
    rows = []
    for name, each in methods.items():
        cells = [_interval(each["measures"][measure]) for measure in each["measures"]]
        rows.append([name, *cells, f"{each['coverage']:.1%}", f"{each['novelty']:.1f}"])
    measures = next(iter(methods.values()))["measures"]
    return table(["method", *measures, "coverage", "novelty, bits"], rows, texts=1)


def _who(group: Figures) -> str:
    least, most = group["least"], group["most"]
    if most is None:
        return "any" if least == 0 else f"{least} or more"
    return f"{least}" if least == most else f"{least} to {most}"


def _gap(interval: Figures) -> str:
    told = f"{interval['mean']:+.3f} ({interval['low']:+.3f} to {interval['high']:+.3f})"
    return f"**{told}**" if interval["low"] > 0 or interval["high"] < 0 else told


def _interval(interval: Figures) -> str:
    return f"{interval['mean']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


if __name__ == "__main__":
    main()
