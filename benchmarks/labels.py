"""River's classifiers on the profiles of real users: quality, time and size.

    python -m benchmarks.labels --vectors /tmp/vectors.npz

Each event moves its user's profile, which is predicted and then learned with the user's label, as
in the trainer. A fifth of the users, picked by hash, is never learned. See docs/labels.md.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from river import forest, imblearn, linear_model, multiclass, optim, tree

from benchmarks import machine
from benchmarks.markdown import Cell, columns
from benchmarks.shared import DOCS, Figures, parser, run, say, write_page
from benchmarks.worker_stage import default_embedder, event_vectors, lookup_of, records_of, truth_of
from consumer.offline.evaluate.plots import pictures
from consumer.offline.evaluate.run import evaluate_file
from consumer.offline.files import read_lines
from consumer.settings import Settings
from models.distances import Floats, Ints
from models.labels.confusion import confusion_of
from models.labels.decision import decide_labels
from models.labels.learner import LabelLearner
from models.labels.offline import linear_svm, majority, random_forest
from models.labels.policy import LabelPolicy
from models.profiles.sample import rank
from models.profiles.table import ProfileRows, hash_event_id, to_microseconds

PAGE = DOCS / "labels.md"
PICTURE = DOCS / "labels-stackexchange.png"
LEAST_EVENTS = 5
HELD_OUT = 0.2
"""Share of the users, picked by hash, whom no candidate learns."""

_BATCH = 512


@dataclass(frozen=True, eq=False)
class Stream:
    """Profiles as events move them.

    Attributes
    ----------
    users
        int64[n]. Whose profile each is.
    vectors
        float64[n, d], of unit length.
    events
        int64[n]. Events of the user so far.
    labels
        int64[n]. The user's label.
    names
        The labels.
    held_out
        bool[m]. Users who are never learned.
    """

    users: Ints
    vectors: Floats
    events: Ints
    labels: Ints
    names: list[str]
    held_out: np.ndarray

    @property
    def final(self) -> Ints:
        """Rows of the users' last profiles."""
        last = dict(zip(self.users.tolist(), range(len(self.users)), strict=True))
        return np.array(list(last.values()), np.int64)


def read_stream(path: Path, stored: Path, load: Callable[[], Any] = default_embedder) -> Stream:
    """Make the profiles of a file's accepted events; parameters as for `event_vectors`."""
    lines = list(read_lines(path))
    accepted, embeddings = event_vectors(path, stored, load)
    _, truth = truth_of(lines)
    settings = Settings()
    intake, now = settings.events.intake(), datetime.now(UTC)
    weights, policy = settings.events.weights, settings.profile
    numbers: dict[str, int] = {}
    events = []
    for line in accepted.tolist():
        user = json.loads(lines[line])["user_id"]
        events.append(intake.read(lines[line], user.encode(), now))
        if user in truth:
            numbers.setdefault(user, len(numbers))
    names = sorted(set(truth.values()))
    rows = ProfileRows.empty(list(numbers), embeddings.shape[1], policy.event_memory)
    found: dict[str, list[Any]] = {"users": [], "vectors": [], "events": [], "labels": []}
    for event, embedding in zip(events, embeddings, strict=True):
        if event.user_id not in numbers:
            continue
        place = np.array([numbers[event.user_id]])
        gain, at = weights[event.type], to_microseconds(event.occurred_at)
        rows.add(place, embedding[None], np.array([gain]), np.array([at]), policy)
        rows.remember(place, np.array([hash_event_id(event.event_id)], np.uint64))
        found["users"].append(int(place[0]))
        found["vectors"].append(rows.vectors(place)[0].astype(np.float32))
        found["events"].append(int(rows.events[place[0]]))
        found["labels"].append(names.index(truth[event.user_id]))
    return Stream(
        users=np.array(found["users"]),
        vectors=np.stack(found["vectors"]).astype(np.float64),
        events=np.array(found["events"]),
        labels=np.array(found["labels"]),
        names=names,
        held_out=np.array([rank(f"held out: {user}") <= HELD_OUT for user in numbers]),
    )


class Alone:
    """A classifier of River's, with nothing around it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, vector: Floats) -> int | None:
        """Give the likeliest label."""
        found: int | None = self.model.predict_one(dict(enumerate(vector.tolist())))
        return found

    def learn(self, user: int, vector: Floats, label: int) -> None:  # noqa: ARG002
        """Learn one profile."""
        self.model.learn_one(dict(enumerate(vector.tolist())), label)

    def size(self) -> int:
        """Bytes of what would have to be kept."""
        return len(pickle.dumps(self.model))


class Product:
    """The trainer's learner."""

    def __init__(self, names: list[str], **policy: Any) -> None:
        self.learner = LabelLearner(LabelPolicy(**policy), "0" * 64, seed=0)
        self._names = names

    def predict(self, vector: Floats) -> int | None:
        """Give the likeliest label."""
        found = self.learner.predict(vector)
        return None if found is None else self._names.index(self.learner.names[found])

    def learn(self, user: int, vector: Floats, label: int) -> None:
        """Learn one profile, and rehearse others."""
        self.learner.learn(f"{user}", vector, self._names[label])

    def size(self) -> int:
        """Bytes of a published version."""
        return len(self.learner.snapshot(None, 0).to_record().model_dump_json())


def candidates(names: list[str]) -> dict[str, Callable[[], Any]]:
    """Give what is compared, by name."""
    even = {number: 1 / len(names) for number in range(len(names))}

    def one_vs_rest(model: Any) -> Any:
        return multiclass.OneVsRestClassifier(model)

    def logistic() -> Any:
        return one_vs_rest(linear_model.LogisticRegression(optim.SGD(1.0), intercept_lr=0.1))

    def svm() -> Any:
        hinge = optim.losses.Hinge()
        return one_vs_rest(
            linear_model.LogisticRegression(optim.SGD(0.1), loss=hinge, intercept_lr=0.1)
        )

    def softmax() -> Any:
        return linear_model.SoftmaxRegression(optim.SGD(1.0))

    found: dict[str, Callable[[], Any]] = {
        "Hoeffding adaptive tree": lambda: Alone(tree.HoeffdingAdaptiveTreeClassifier(seed=0)),
        "adaptive random forest": lambda: Alone(forest.ARFClassifier(seed=0)),
        "passive-aggressive": lambda: Alone(one_vs_rest(linear_model.PAClassifier(C=1.0))),
        "linear SVM": lambda: Alone(svm()),
        "logistic": lambda: Alone(logistic()),
        "softmax": lambda: Alone(softmax()),
    }
    samplers: dict[str, Callable[[Any], Any]] = {
        sampler.__name__: partial(sampler, desired_dist=even, seed=0)
        for sampler in (
            imblearn.RandomUnderSampler,
            imblearn.RandomOverSampler,
            imblearn.RandomSampler,
        )
    }
    samplers["HardSampling"] = partial(imblearn.HardSamplingClassifier, size=100, p=0.2, seed=0)
    for (name, make), (sampling, sampler) in product(
        {"logistic": logistic, "softmax": softmax}.items(), samplers.items()
    ):
        found[f"{name}, {sampling}"] = lambda make=make, sampler=sampler: Alone(sampler(make()))
    for classifier, rehearsals in (("svm", 1), ("softmax", 1), ("logistic", 1), ("logistic", 3)):
        title = {"svm": "linear SVM"}.get(classifier, classifier)
        found[f"{title}, {rehearsals} rehearsed"] = lambda c=classifier, r=rehearsals: Product(
            names, classifier=c, rehearsals=r
        )
    return found


def followed(stream: Stream, candidate: Any) -> Figures:
    """Predict, then learn, all along the stream; then predict everybody."""
    spent = {"predict": 0.0, "learn": 0.0}
    predicted = np.full(len(stream.users), -1, np.int64)
    learned = 0
    for row, (user, label) in enumerate(
        zip(stream.users.tolist(), stream.labels.tolist(), strict=True)
    ):
        vector = stream.vectors[row]
        start = time.process_time()
        found = candidate.predict(vector)
        spent["predict"] += time.process_time() - start
        predicted[row] = -1 if found is None else found
        if not stream.held_out[user]:
            start = time.process_time()
            candidate.learn(user, vector, label)
            spent["learn"] += time.process_time() - start
            learned += 1
    final = stream.final
    at_end = np.full(len(stream.users), -1, np.int64)
    at_end[final] = [_number(candidate.predict(stream.vectors[row])) for row in final.tolist()]
    held = stream.held_out[stream.users]
    often = stream.events >= LEAST_EVENTS
    last = np.zeros(len(stream.users), bool)
    last[final] = True
    return {
        "progressive": _f1(stream, predicted, often & ~held),
        "progressive_unseen": _f1(stream, predicted, often & held),
        "final": _f1(stream, at_end, often & last & ~held),
        "final_unseen": _f1(stream, at_end, often & last & held),
        "final_unseen_all": _f1(stream, at_end, last & held),
        "predict_microseconds": round(1e6 * spent["predict"] / len(stream.users), 1),
        "learn_microseconds": round(1e6 * spent["learn"] / learned, 1),
        "bytes": candidate.size(),
    }


def offline(stream: Stream) -> Figures:
    """What is made of the last profiles of users with enough events, all at once."""
    rows = stream.final[stream.events[stream.final] >= LEAST_EVENTS]
    vectors, labels = stream.vectors[rows], stream.labels[rows]
    found = {
        "majority": majority(labels.tolist()),
        "random forest": random_forest(vectors, labels),
        "linear SVM": linear_svm(vectors, labels),
    }
    return {
        name: round(
            confusion_of(zip(labels.tolist(), own.tolist(), strict=True)).scores().macro_f1, 4
        )
        for name, own in found.items()
    }


def flapping(stream: Stream, policies: Iterable[LabelPolicy]) -> list[Figures]:
    """Count published labels along the stream, with versions as the trainer would publish them."""
    policies = list(policies)
    users = int(stream.users.max()) + 1
    learner = LabelLearner(LabelPolicy(), "0" * 64, seed=0)
    latest = np.zeros((users, stream.vectors.shape[1]))
    events = np.zeros(users, np.int64)
    states: list[tuple[list[str | None], Ints, Ints]] = [
        ([None] * users, np.zeros(users, np.int64), np.zeros(users, np.int64)) for _ in policies
    ]
    model, versions = None, 0

    def look(rows: Ints, *, new: bool) -> None:
        for policy, (current, since, changes) in zip(policies, states, strict=True):
            rested = np.full(len(rows), 10**6) if new else events[rows] - since[rows]
            decided = decide_labels(
                latest[rows], [current[row] for row in rows.tolist()], events[rows], rested,
                model, policy,
            )  # fmt: skip
            for i in np.flatnonzero(decided.changed).tolist():
                row = int(rows[i])
                current[row] = model.names[decided.row[i]] if decided.row[i] >= 0 else None
                since[row] = events[row]
                changes[row] += 1

    for row, user in enumerate(stream.users.tolist()):
        latest[user], events[user] = stream.vectors[row], stream.events[row]
        if model is not None:
            look(np.array([user]), new=False)
        learner.learn(f"{user}", stream.vectors[row], stream.names[stream.labels[row]])
        # The trainer looks once a batch.
        if row % _BATCH == _BATCH - 1 and learner.due():
            model = learner.snapshot(model, 0)
            versions += 1
            look(np.flatnonzero(events > 0), new=True)
    truth = {
        user: stream.names[label]
        for user, label in zip(stream.users.tolist(), stream.labels.tolist(), strict=True)
    }
    often = np.flatnonzero(events >= LEAST_EVENTS)
    rows = []
    for policy, (current, _, changes) in zip(policies, states, strict=True):
        right = np.mean([current[user] == truth[user] for user in often.tolist()])
        rows.append(
            {
                "margin": policy.margin,
                "dwell_events": policy.dwell_events,
                "min_probability": policy.min_probability,
                "changes_a_user": round(float(changes[often].mean()), 3),
                "right": round(float(right), 4),
                "without": round(
                    float(np.mean([current[user] is None for user in often.tolist()])), 4
                ),
            }
        )
    return [{**each, "versions": versions} for each in rows]


def evaluated(
    path: Path, stored: Path, load: Callable[[], Any] = default_embedder
) -> tuple[Figures, bytes]:
    """Run `segmenter evaluate`; give what it says of labels, and its picture."""
    accepted, vectors = event_vectors(path, stored, load)
    lookup = lookup_of(records_of(read_lines(path)), accepted.tolist(), vectors)
    evaluation = evaluate_file(path, Settings(), lookup, label="label", say=say)
    figures = json.loads(evaluation.figures.to_json())["supervised"]
    return figures, dict(pictures(evaluation))["labels.png"]


def _number(found: int | None) -> int:
    return -1 if found is None else found


def _f1(stream: Stream, predicted: Ints, rows: np.ndarray) -> float:
    rows = rows & (predicted >= 0)
    pairs = zip(stream.labels[rows].tolist(), predicted[rows].tolist(), strict=True)
    scores = confusion_of(pairs).scores()
    return 0.0 if scores is None else round(scores.macro_f1, 4)


def tables(figures: Figures) -> str:
    """Write the figures in Markdown."""

    def name(row: Figures) -> str:
        default = row["name"] == figures["default"]
        return f"**{row['name']}** (default)" if default else str(row["name"])

    compared: dict[str, Cell] = {
        "": name,
        "progressive": "{progressive:.3f}",
        "progressive, unseen": "{progressive_unseen:.3f}",
        "final": "{final:.3f}",
        "final, unseen": "{final_unseen:.3f}",
        "the same, all users": "{final_unseen_all:.3f}",
        "learn, µs of CPU": "{learn_microseconds:,.0f}",
        "predict, µs of CPU": "{predict_microseconds:,.0f}",
        "kB": lambda row: f"{row['bytes'] / 1000:,.0f}",
    }
    offline = "".join(
        f"\n| offline: {name} |  |  |  | {score:.3f} |  |  |  |  |"
        for name, score in figures["offline"].items()
    )
    changes: dict[str, Cell] = {
        "margin": "{margin:g}",
        "dwell": "{dwell_events}",
        "labels published a user": "{changes_a_user:.2f}",
        "right at the end": "{right:.3f}",
        "none at the end": "{without:.3f}",
    }
    least = figures["least_events"]

    def score(key: str) -> Cell:
        return lambda row: "" if row[key] is None else f"{row[key]:.3f}"

    judged: dict[str, Cell] = {
        "": f"{{name}}, users with ≥ {least} events",
        "profiles": "{count:,}",
        "accuracy": score("accuracy"),
        "recall": score("macro_recall"),
        "precision": score("macro_precision"),
        "F1": score("macro_f1"),
    }
    groups = figures["evaluated"]["groups"]
    rows = [row for group in groups if group["least_events"] == least for row in group["rows"]]
    return (
        f"{figures['profiles']:,} profiles of {figures['users']:,} users, "
        f"{figures['labels']} labels; macro F1 of users with ≥ {least} events.\n\n"
        f"{columns(figures['rows'], compared, texts=1)}{offline}\n\n"
        f"Changes of the published label, {figures['flapping'][0]['versions']} versions of the "
        f"label model:\n\n{columns(figures['flapping'], changes)}\n\n"
        f"What `segmenter evaluate` says of the same file, with {figures['default']}, once a batch "
        f"of 512 events:\n\n{columns(rows, judged, texts=1)}"
    )


def main() -> None:
    """Measure, or only render."""
    made = parser(__doc__ or "", "labels.json", events=True, picture=PICTURE, page=True)
    made.add_argument("--only", nargs="*", help="these candidates")
    options = made.parse_args()
    figures = run(options, lambda _: measure(options))
    write_page(PAGE, {"labels": tables(figures)})


def measure(options: argparse.Namespace) -> Figures:
    """Run everything; gives all figures."""
    stream = read_stream(options.data, options.vectors)
    judged, picture = evaluated(options.data, options.vectors)
    options.picture.write_bytes(picture)
    rows = []
    for name, make in candidates(stream.names).items():
        if options.only and name not in options.only:
            continue
        rows.append({"name": name, **followed(stream, make())})
        say(f"{name}: {rows[-1]}")
    policies = [
        LabelPolicy(margin=margin, dwell_events=dwell)
        for margin, dwell in ((0.0, 0), (0.2, 0), (0.0, 3), (0.2, 3), (0.2, 6), (0.4, 6))
    ]
    settings = Settings().labels
    return {
        "machine": machine.embedding_facts(),
        "file": options.data.name,
        "profiles": len(stream.users),
        "users": len(stream.held_out),
        "held_out": int(stream.held_out.sum()),
        "labels": len(stream.names),
        "least_events": LEAST_EVENTS,
        "default": f"{settings.classifier}, {settings.rehearsals} rehearsed",
        "offline": offline(stream),
        "rows": rows,
        "flapping": flapping(stream, policies),
        "evaluated": judged,
    }


if __name__ == "__main__":
    main()
