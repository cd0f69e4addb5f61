"""Which embedding model for which language: segments, labels, speed and memory of each.

    python -m benchmarks.languages
    python -m benchmarks.languages --only chinese stackexchange
    python -m benchmarks.languages --render

Four models on five sets of texts: the demo's streams in Chinese and in English, two groups of
Chinese writers who differ little, the latest posts of users of Stack Exchange, and single events of
Cofacts. Each model embeds in a process of its own,
each different text once; segments are then made by the stages of `segmenter replay`, which look the
vectors up. See docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np

from benchmarks import languages_picture, machine
from benchmarks.markdown import Cell, columns, named
from benchmarks.pipeline.processes import memory_mb
from benchmarks.shared import (
    DATA,
    DOCS,
    ROOT,
    Figures,
    parser,
    read,
    run,
    say,
    write,
    write_page,
)
from benchmarks.worker_stage import Lookup, records_of
from consumer.offline.files import read_lines
from consumer.offline.replay import Replay
from consumer.offline.texts import clean_texts
from consumer.settings import Settings
from consumer.tryout.demo import phrases
from consumer.tryout.demo.phrases import Language
from consumer.tryout.demo.stream import MadeUpStream
from consumer.wiring.embedder import load_embedder
from models.distances import Floats, Ints
from models.embedding.runner_types import Vectors
from models.labels.confusion import confusion_of
from models.labels.offline import FOLDS, linear_svm
from models.measures.agreement import agreement
from models.measures.offline import offline_kmeans
from models.text import clean, has_words
from schemas.events import EventType

EVALUATION, OPERATIONS = DOCS / "evaluation.md", DOCS / "operations.md"
PICTURE = DOCS / "languages.png"
COFACTS = DATA.parent / "cofacts.jsonl.gz"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODELS = ("default", "multilingual", "words", "both")
SEEDS = 5

LEAST_EVENTS = 10
"""Events of a user of Stack Exchange who is looked at, and the latest ones that are: the rest of
what the busiest wrote would take most of the time."""

NEAR_USERS, POSTS = 500, 20
NEAR_BEGAN = datetime(2024, 1, 1, tzinfo=UTC)

GROUPS_APART = 0.6
"""An interest is 1.6 times as common as on average in one group, and 0.4 times in the other."""

OWN_SHARES = 12.0
"""How near users are to their group's shares (the sum of the Dirichlet distribution's weights)."""

TEXTS_OF_A_LABEL = 200
"""Texts of Cofacts of each label at most, and half as many at least."""

# What says that a message has no topic: an address alone, none of the others, no sense.
NO_TOPICS = ("只有網址其他資訊不足", "有意義但不包含在以上標籤", "無意義")

TIMED_TEXTS = 1_000
"""Texts that `both` embeds to be timed: its vectors are made of those of the other models."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Events and what is known of them.

    Attributes
    ----------
    title
        For tables.
    encoder
        What goes beside `words` in `both`: the model that is advised for the language.
    lines
        Events, as JSON.
    users
        The true label of each user; of events alone there are none.
    events
        The true label of each event, where these are judged and not users.
    """

    title: str
    encoder: str
    lines: list[bytes]
    users: Mapping[str, str]
    events: list[str]


def made_up(language: Language, title: str, encoder: str, users: int) -> Labelled:
    """Make the demo's stream of a language, without the bad records and the repeats."""
    shown = MadeUpStream.of(language, users).settings
    stream = MadeUpStream(replace(shown, bad=0, repeated=0), language)
    truth = {user: str(label) for user, label in stream.labels().items()}
    return Labelled(title, encoder, [record.value for record in stream.records()], truth, [])


def near_groups(users: int, seed: int = 0) -> Labelled:
    """Make up two groups of Chinese writers who write about the same, in shares that differ.

    Each user has shares of the interests of their own, drawn around those of the group: half of the
    interests are four times as common in one group, the other half in the other. So any two users
    share subjects and words, the groups' centres are near each other (a distance of .10 in
    multilingual-e5-small), and offline k-means does not find all of it either.

    Parameters
    ----------
    users
        How many, in all.
    seed
        Another seed, other users.
    """
    draw, random = np.random.default_rng(seed), Random(seed)
    interests = phrases.interests()
    lines, truth = list[tuple[float, bytes]](), dict[str, str]()
    for number in range(users):
        group = int(draw.integers(2))
        tilt = np.where(np.arange(len(interests)) < len(interests) / 2, 1, -1) * (1 - 2 * group)
        common = 1 + GROUPS_APART * tilt
        shares = draw.dirichlet(OWN_SHARES * common / common.sum())
        user = f"u-{number:04d}"
        truth[user] = f"group {group}"
        for event in range(POSTS):
            about = interests[int(draw.choice(len(interests), p=shares))]
            kind = EventType.COMMENT if draw.random() < 0.5 else EventType.REVIEW
            day = float(draw.random() * 360)
            said = {
                "event_id": f"{user}-{event:02d}",
                "user_id": user,
                "type": kind.value,
                "occurred_at": (NEAR_BEGAN + timedelta(days=day)).isoformat(),
                "text": phrases.compose(random, about, Language.CHINESE, kind).text,
            }
            lines.append((day, json.dumps(said, ensure_ascii=False).encode()))
    lines.sort()
    title = "two near groups, in Chinese"
    return Labelled(title, "multilingual", [line for _, line in lines], truth, [])


def stackexchange(path: Path) -> Labelled:
    """Take the latest events of each user who has enough of them."""
    events: dict[str, list[bytes]] = defaultdict(list)
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for line in read_lines(path):
        event = json.loads(line)
        if event["label"] is not None:
            events[event["user_id"]].append(line)
            labels[event["user_id"]][event["label"]] += 1
    kept = {user: own[-LEAST_EVENTS:] for user, own in events.items() if len(own) >= LEAST_EVENTS}
    lines = [line for own in kept.values() for line in own]
    lines.sort(key=lambda line: json.loads(line)["occurred_at"] or "")
    truth = {user: labels[user].most_common(1)[0][0] for user in kept}
    return Labelled("Stack Exchange (English)", "default", lines, truth, [])


def cofacts(path: Path) -> Labelled:
    """Draw different texts of each label that names a topic, by their hash."""
    drawn: dict[str, dict[bytes, bytes]] = defaultdict(dict)
    for line in read_lines(path):
        event = json.loads(line)
        text = clean(event["text"] or "")
        if event["label"] is not None and event["label"] not in NO_TOPICS and has_words(text):
            digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
            drawn[event["label"]].setdefault(digest, line)
    lines, labels = list[bytes](), list[str]()
    for label, own in sorted(drawn.items()):
        if len(own) >= TEXTS_OF_A_LABEL // 2:
            chosen = [own[digest] for digest in sorted(own)[:TEXTS_OF_A_LABEL]]
            lines += chosen
            labels += [label] * len(chosen)
    return Labelled("Cofacts, single events (Chinese)", "multilingual", lines, {}, labels)


SETS: dict[str, Callable[[argparse.Namespace], Labelled]] = {
    "chinese": lambda options: made_up(
        Language.CHINESE, "made-up stream in Chinese", "multilingual", options.users
    ),
    "english": lambda options: made_up(
        Language.ENGLISH, "made-up stream in English", "default", options.users
    ),
    "near": lambda _: near_groups(NEAR_USERS),
    "stackexchange": lambda options: stackexchange(options.data),
    "cofacts": lambda options: cofacts(options.cofacts),
}


# --- embedding, in a process of its own -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """What embedding took.

    Attributes
    ----------
    texts
        Embedded, all different.
    texts_per_second
        On all cores, without the model's loading.
    cpu_ms
        Processor time a text.
    memory_mb
        What the process had at most: Python, the model, and the texts with their vectors.
    """

    texts: int
    texts_per_second: float
    cpu_ms: float
    memory_mb: float


def embed_in_here(settings: Settings, texts: Sequence[str], to: Path) -> Cost:
    """Embed texts, batch by batch as a worker gets them, and keep their vectors."""
    size = settings.batch.usual_records
    with load_embedder(settings) as embedder:
        embedder.embed(["a text to begin with", "先来一句"])
        began, spent = time.perf_counter(), time.process_time()
        parts = [embedder.embed(texts[at : at + size]) for at in range(0, len(texts), size)]
        seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    np.save(to, np.concatenate(parts))
    return Cost(
        len(texts),
        round(len(texts) / seconds, 1),
        round(1000 * cpu / len(texts), 3),
        round(memory_mb(os.getpid(), "VmHWM"), 1),
    )


def embed(embedding: Figures, texts: Sequence[str], folder: Path) -> tuple[Vectors, Cost]:
    """Embed texts in another process, by settings of the section `embedding`."""
    given, kept = folder / "texts.json", folder / "vectors.npy"
    given.write_text(json.dumps(list(texts)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.languages", "--embed", json.dumps(embedding)]
    done = subprocess.run(
        [*command, str(folder)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return np.load(kept), Cost(**json.loads(done.stdout))


# --- what comes of the vectors --------------------------------------------------------------------


def vectors_of(
    model: str, data: Labelled, texts: Sequence[str], known: dict[str, Vectors], folder: Path
) -> tuple[Vectors, Cost]:
    """Give the vectors of texts with a model, NaN for a text without one, and what they cost."""
    from models.embedding.making.fit_words import fit_words  # noqa: PLC0415 - loads ONNX
    from models.embedding.words.both import joined  # noqa: PLC0415

    embedding: Figures = {"model": model, "words": {"folder": str(folder / "words")}}
    if model == "words":
        fit_words(texts, folder / "words")
    if model != "both":
        found, cost = embed(embedding, texts, folder)
        return found, cost
    embedding["both"] = {"model": data.encoder}
    _, cost = embed(embedding, texts[:: max(1, len(texts) // TIMED_TEXTS)], folder)
    weight = Settings().embedding.both.words_weight
    weights = np.full((len(texts), 1), weight, np.float32)
    return joined(known[data.encoder], known["words"], weights), cost


def judge_users(data: Labelled, texts: Sequence[str], vectors: Vectors) -> Figures:
    """Replay the events, and compare the users' segments with their labels."""
    numbers = {text: number for number, text in enumerate(texts)}
    segments = len(set(data.users.values()))
    settings = Settings().changed("training", segments=segments)
    replay = Replay(settings, Lookup(numbers, vectors), None, NOW)
    replay.run(records_of(data.lines), lambda _: None)
    table = replay.segmentation.tables[0]
    users = [user for user in table.users if user in data.users]
    rows = table.gather(users)
    labels = [data.users[user] for user in users]
    own = agreement(labels, rows.segments.tolist())
    return {
        "users": len(users),
        "refused": replay.segmentation.stats.refused.total(),
        "v_measure": round(own.v_measure, 4),
        "adjusted_rand": round(own.adjusted_rand, 4),
        **_by_peers(rows.vectors(), labels),
    }


def judge_events(data: Labelled, texts: Sequence[str], vectors: Vectors) -> Figures:
    """Cluster single events; one without a vector lies in the middle of all."""
    numbers = {text: number for number, text in enumerate(texts)}
    places = [numbers.get(clean(event["text"]), -1) for event in map(json.loads, data.lines)]
    labels = [label for label, place in zip(data.events, places, strict=True) if place >= 0]
    places = [place for place in places if place >= 0]  # the others are refused, for their time
    found = np.nan_to_num(vectors[places].astype(np.float64))
    peers = _by_peers(found, labels)
    return {
        "events": len(labels),
        "refused": int(np.isnan(vectors[places][:, 0]).sum()),
        "v_measure": peers["offline_v_measure"],
        "adjusted_rand": peers["offline_adjusted_rand"],
        **peers,
    }


def _by_peers(vectors: Floats, labels: Sequence[str]) -> Figures:
    """Give what k-means makes of vectors, and how well a linear classifier tells their labels."""
    names = sorted(set(labels))
    given: Ints = np.array([names.index(label) for label in labels], np.int64)
    clusters = [offline_kmeans(vectors, len(names), seed).rows for seed in range(SEEDS)]
    agreements = [agreement(labels, rows.tolist()) for rows in clusters]
    # A label has to be in every fold.
    several = np.bincount(given)[given] >= FOLDS
    told = linear_svm(vectors[several], given[several])
    scores = confusion_of(zip(given[several].tolist(), told.tolist(), strict=True)).scores()
    return {
        "labels": len(names),
        "offline_v_measure": round(fmean(each.v_measure for each in agreements), 4),
        "offline_adjusted_rand": round(fmean(each.adjusted_rand for each in agreements), 4),
        "macro_f1": None if scores is None else round(scores.macro_f1, 4),
    }


def measure(options: argparse.Namespace, folder: Path) -> Figures:
    """Run everything, or the sets asked for; gives all figures, the others' as they were.

    What a set gave is written at once: what comes after it may fail.
    """
    sets = read(options.output)["sets"] if options.output.exists() else {}
    for name in options.only or SETS:
        data = SETS[name](options)
        work = folder / name
        work.mkdir()
        texts = list(dict.fromkeys(clean_texts(records_of(data.lines), Settings(), name)))
        known: dict[str, Vectors] = {}
        models = {}
        for model in MODELS:
            known[model], cost = vectors_of(model, data, texts, known, work)
            judge = judge_events if data.events else judge_users
            found = judge(data, texts, known[model])
            models[model] = {**found, "dimensions": known[model].shape[1], "cost": asdict(cost)}
            say(f"{name}, {model}: V {found['v_measure']}, {cost.texts_per_second} texts/s")
        sets[name] = {
            "title": data.title,
            "encoder_of_both": data.encoder,
            "lines": len(data.lines),
            "texts": len(texts),
            "characters": round(fmean(map(len, texts)), 1),
            "models": models,
        }
        write(options.output, _figures(sets))
    return _figures(sets)


def _figures(sets: Figures) -> Figures:
    ordered = {name: sets[name] for name in SETS if name in sets}
    return {"machine": machine.embedding_facts(), "sets": ordered}


# --- the pages ------------------------------------------------------------------------------------


def _share(name: str) -> Callable[[Figures], str]:
    return lambda row: "" if row[name] is None else f"{row[name]:.3f}"


def _a_core(row: Figures) -> float:
    """Give the texts of a second of processor time, which neighbours on the machine hardly move."""
    return 1000 / float(row["cost"]["cpu_ms"])


def _model(row: Figures) -> str:
    return f"`both` ({row['encoder']})" if row["name"] == "both" else f"`{row['name']}`"


def _rows(data: Figures) -> list[Figures]:
    """Give the models of a set, with what goes beside `words` in `both`."""
    encoder = data["encoder_of_both"]
    return [{**row, "encoder": encoder} for row in named(data["models"])]


def quality(figures: Figures) -> str:
    """Write a table for each set of texts."""
    parts = []
    for data in figures["sets"].values():
        rows = _rows(data)
        of_users = "users" in rows[0]
        count = rows[0]["users" if of_users else "events"]
        title = (
            f"{data['title']}: {count:,} {'users' if of_users else 'events'}, "
            f"{rows[0]['labels']} labels, {data['texts']:,} texts of {data['characters']:.0f} "
            "characters"
        )
        own: dict[str, Cell] = {"V": _share("v_measure"), "ARI": _share("adjusted_rand")}
        offline: dict[str, Cell] = {
            "V, offline": _share("offline_v_measure"),
            "ARI, offline": _share("offline_adjusted_rand"),
        }
        cells: dict[str, Cell] = {
            title: _model,
            **(own if of_users else {}),
            **offline,
            "macro F1": _share("macro_f1"),
            "refused": "{refused:,}",
        }
        parts.append(columns(rows, cells, texts=1))
    return "\n\n".join([*parts, cost(figures)])


def cost(figures: Figures) -> str:
    """Write the table of speed and memory."""
    cells: dict[str, Cell] = {
        "Cost": _model,
        "texts": "{title}",
        "CPU ms a text": lambda row: f"{row['cost']['cpu_ms']:.2f}",
        "texts/s a core": lambda row: f"{_a_core(row):,.0f}",
        "memory": lambda row: f"{row['cost']['memory_mb']:,.0f} MB",
        "dimensions": "{dimensions}",
        "bytes a user": lambda row: f"{4 * row['dimensions']:,}",
    }
    rows = [
        {**row, "title": data["title"]} for data in figures["sets"].values() for row in _rows(data)
    ]
    return columns(sorted(rows, key=lambda row: MODELS.index(row["name"])), cells, texts=2)


def summary(figures: Figures) -> str:
    """Write the short table: V-measures by set, and what a text costs at most."""

    def of(name: str) -> Cell:
        return lambda row: _share("v_measure")(figures["sets"][name]["models"][row["name"]])

    sets = figures["sets"]
    rows = []
    for model in MODELS:
        own = [each["models"][model] for each in sets.values()]
        speeds = [_a_core(row) for row in own]
        most = max(row["cost"]["memory_mb"] for row in own)
        slowest, fastest = min(speeds), max(speeds)
        rows.append({"name": model, "slowest": slowest, "fastest": fastest, "most": most})
    cells: dict[str, Cell] = {
        "V-measure": "`{name}`",
        **{data["title"]: of(name) for name, data in sets.items()},
        "texts/s a core": "{slowest:,.0f} to {fastest:,.0f}",
        "memory": "{most:,.0f} MB",
    }
    return columns(rows, cells, texts=1)


def write_pages(figures: Figures, picture: Path) -> None:
    """Draw the picture, and write the tables of both pages."""
    languages_picture.draw(figures, MODELS, picture)
    write_page(EVALUATION, {"languages": quality(figures)})
    write_page(OPERATIONS, {"languages": summary(figures)})


def main() -> None:
    """Measure, or only render; in a process of its own, embed."""
    made = parser(__doc__ or "", "languages.json", picture=PICTURE, page=True)
    add = made.add_argument
    add("--only", nargs="+", choices=SETS, help="sets of texts; the others' figures stay")
    add("--data", type=Path, default=DATA, help="events of Stack Exchange, as JSON lines")
    add("--cofacts", type=Path, default=COFACTS, help="events of Cofacts, as JSON lines")
    add("--users", type=int, default=400, help="users of the made-up streams")
    add("--embed", nargs=2, metavar=("SETTINGS", "FOLDER"), help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.embed:
        embedding, folder = json.loads(options.embed[0]), Path(options.embed[1])
        texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
        told = embed_in_here(Settings(embedding=embedding), texts, folder / "vectors.npy")
        print(json.dumps(asdict(told)))
        return
    write_pages(run(options, lambda folder: measure(options, folder)), options.picture)


if __name__ == "__main__":
    main()
