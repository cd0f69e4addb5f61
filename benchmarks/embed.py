"""The embedding engine on the CPU beside its peers: speed, share of the peak, and fidelity.

    python -m benchmarks.embed --count 1000 --rounds 5

One run, the same texts for all, a process a contender, by turns. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.embedding import curve, report
from benchmarks.embedding.export import QUANTISED
from benchmarks.embedding.flops import EncoderShape
from benchmarks.embedding.lineup import (
    CALLS,
    ENGINE,
    INSIDE,
    OPENVINO,
    REFERENCE,
    WORKER,
    Files,
    lineup,
)
from benchmarks.embedding.no_amx import forbid_amx
from benchmarks.embedding.recipes import write_variants
from benchmarks.embedding.rounds import Child, Contender, environment, measure, started
from benchmarks.embedding.sample import TEXTS_FILE, Sample, read_sample
from benchmarks.embedding.tokens import load_tokenizer, tokenise
from benchmarks.shared import (
    DATA,
    DOCS,
    RESULTS,
    ROOT,
    Figures,
    parser,
    read,
    run,
    say,
    write_page,
)
from models.embedding.cache import cache_folder
from models.embedding.making.prepare import prepare_model
from models.embedding.making.weights import DEFAULT_SOURCE, resolve_source
from models.embedding.manifest import Manifest

PAGE = DOCS / "performance.md"
PICTURE = DOCS / "embedding-curve.png"

EXACT = FALLBACK_REFERENCE = "ours-fp32"

_OF_ANY_MODEL = {ENGINE, INSIDE, EXACT}

CALIBRATION = 300
"""Texts that OpenVINO's int8 is calibrated on."""


def main() -> None:
    options = parse()
    if options.render:
        render_page()
        return
    if options.without_amx:
        forbid_amx()
    options.output = options.output or RESULTS / result_name(options)
    figures = run(options, lambda work: measured(options, work))
    if options.curve:
        curve.draw(figures["points"], options.picture)
    print(f"\n{report.engine_text(figures)}")
    for contender, reason in figures["failed"].items():
        print(f"did not run: {contender}: {reason}")
    sys.exit(1 if figures["failed"] else 0)


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    made = parser(__doc__ or "", "", picture=PICTURE, page=True)
    made.set_defaults(output=None)  # by the kind of run
    add = made.add_argument
    add("--data", type=Path, default=DATA, help="events, as JSON lines")
    add("--model", choices=("default", "multilingual"), default="default",
        help="of the product; there are peers of the default one alone")  # fmt: skip
    add("--count", type=int, default=1000, help="texts")
    add("--texts", choices=("posts", "short"), default="posts", help="of any length, or short ones")
    add("--characters", type=int, help="of each text at most; all of them when not given")
    add("--rounds", type=int, default=5, help="passes of each contender over the texts")
    add("--contenders", nargs="*", default=[], metavar="NAME", help="only these; all when none")
    add("--variant", nargs="*", default=[], metavar="NAME=FOLDER", type=variant,
        help="further prepared models of this product")  # fmt: skip
    add("--curve", action="store_true", help="draw speed against fidelity")
    add("--without-amx", action="store_true", help="as on a CPU without AMX")
    add_peer_options(made)
    return made.parse_args(given)


def add_peer_options(made: argparse.ArgumentParser) -> None:
    """Add what is needed to run the peers."""
    add = made.add_argument
    add("--threads", type=int, default=2, help="threads, and cores, of each contender")
    add("--peer-python", default=sys.executable, help="interpreter with the peers' packages")
    add("--exported", type=Path, help="folder of an earlier export for the peers")


def variant(given: str) -> tuple[str, Path]:
    """Read NAME=FOLDER."""
    name, equals, folder = given.partition("=")
    if not (name and equals and Path(folder).is_dir()):
        raise argparse.ArgumentTypeError(
            f"{given!r} is not NAME=FOLDER with a folder that is there"
        )
    return name, Path(folder)


def result_name(arguments: argparse.Namespace) -> str:
    """Name the results of this kind of run."""
    kind = "embed-curve" if arguments.curve else "embed"
    if arguments.without_amx:
        kind += "-no-amx"
    if arguments.model != DEFAULT_SOURCE:
        kind += f"-{arguments.model}"
    return f"{kind}.json" if arguments.texts == "posts" else f"{kind}-{arguments.texts}.json"


def measured(arguments: argparse.Namespace, work: Path) -> Figures:
    """Measure, and give all figures."""
    say("reading the texts and making the models")
    sample = read_sample(arguments.data, arguments.count, arguments.texts)
    if arguments.characters:
        sample = Sample(sample.lines, [text[: arguments.characters] for text in sample.texts])
    sample.write(work)
    files = prepare(arguments, work)
    peers = arguments.model == DEFAULT_SOURCE
    if peers and not (files.exported / QUANTISED).exists():
        quantise(arguments, files, sample)
    variants = list(arguments.variant)
    if arguments.curve:
        variants += write_variants(files.int8, work)
    contenders = chosen(lineup(files, variants), arguments)
    lengths, cut = token_counts(files, sample)
    with started(contenders, work / TEXTS_FILE, arguments.threads, say) as (children, failed):
        vectors = all_vectors(children, work)  # untimed: also the warm-up
        passes = measure(children, arguments.rounds, say)
        ready = {name: child.ready for name, child in children.items()}
    reference = REFERENCE if REFERENCE in vectors else FALLBACK_REFERENCE
    exact = vectors.get(reference)
    cosines = {} if exact is None else {n: report.fidelity(v, exact) for n, v in vectors.items()}
    shape = EncoderShape.read(files.exported / "config.json") if peers else None
    flops = None if shape is None else shape.total(lengths)
    figures = {
        "machine": machine.embedding_facts(),
        "versions": {k: v for each in ready.values() for k, v in each["versions"].items()},
        "data": {
            "file": arguments.data.name,
            "mix": arguments.texts,
            "texts": len(sample.texts),
            "tokens": sum(lengths),
            "cut": cut,
            "limit": files.limit,
            "characters": arguments.characters,
        },
        "threads": arguments.threads,
        "without_amx": arguments.without_amx,
        "rounds": arguments.rounds,
        "reference": reference,
        "flops_per_pass": flops,
        **report.summarise(
            contenders,
            passes,
            cosines,
            {name: each["setting"] for name, each in ready.items()},
            texts=len(sample.texts),
            tokens=sum(lengths),
            flops=flops or 0,
        ),
        "tried": {name: each["tried"] for name, each in ready.items() if each["tried"]},
        "failed": failed,
    }
    return figures | {"points": curve.points(figures)} if arguments.curve else figures


def prepare(arguments: argparse.Namespace, work: Path) -> Files:
    """Make, or find in the cache, what the contenders open."""
    if arguments.model != DEFAULT_SOURCE:
        int8 = prepare_model(arguments.model, "int8")
        fp32 = prepare_model(arguments.model, "fp32") if EXACT in arguments.contenders else int8
        return Files(int8, fp32, int8, work, Manifest.read(int8).max_tokens)
    exported = arguments.exported or work / "exported"
    if not exported.is_dir():
        weights = resolve_source(DEFAULT_SOURCE, cache_folder()).fetch()
        command = [arguments.peer_python, "-m", "benchmarks.embedding.export"]
        subprocess.run(
            [*command, str(weights), str(exported)],
            check=True,
            cwd=ROOT,
            env=environment(arguments.threads),
        )
    int8, fp32 = prepare_model(precision="int8"), prepare_model(precision="fp32")
    limit = Manifest.read(fp32).max_tokens
    return Files(int8, fp32, exported, work, limit, arguments.peer_python)


def quantise(arguments: argparse.Namespace, files: Files, sample: Sample) -> None:
    """Have the peers' export quantised, on texts that are not among those measured."""
    measured = set(sample.texts)
    found = read_sample(arguments.data, len(measured) + CALIBRATION, arguments.texts).texts
    texts = [text for text in found if text not in measured][:CALIBRATION]
    path = files.work / "calibration.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    command = [arguments.peer_python, "-m", "benchmarks.embedding.quantise"]
    done = subprocess.run(
        [*command, str(files.exported), str(path), str(files.limit)],
        check=False,
        cwd=ROOT,
        env=environment(arguments.threads),
    )
    if done.returncode:
        say("NNCF failed, and its contender will not be there")


def chosen(contenders: list[Contender], arguments: argparse.Namespace) -> list[Contender]:
    """Leave out whom this run is not about."""
    wanted = set(arguments.contenders)
    names = {each.name for each in contenders}
    if len(names) < len(contenders):
        raise SystemExit("a variant has the name of another contender: give it one of its own")
    if unknown := wanted - names:
        raise SystemExit(f"no such contender: {', '.join(sorted(unknown))}; there are {names}")
    if arguments.model != DEFAULT_SOURCE:
        if others := wanted - _OF_ANY_MODEL:
            raise SystemExit(f"{', '.join(sorted(others))}: not with --model {arguments.model}")
        wanted = wanted or _OF_ANY_MODEL - {EXACT}
    if not wanted and arguments.curve:
        wanted = {each.name for each in contenders if not each.peer}
        wanted -= {WORKER, CALLS}
        wanted |= {
            REFERENCE,
            "st-torch-bf16",
            "ort-fp32",
            "openvino-fp32",
            "openvino-int8",
            OPENVINO,
        }
    if arguments.characters:  # the worker's events have their texts whole
        contenders = [each for each in contenders if each.name != WORKER]
    return [each for each in contenders if not wanted or each.name in wanted]


def token_counts(files: Files, sample: Sample) -> tuple[list[int], int]:
    """Tokens of each text as the model sees it, and how many texts are cut."""
    path = files.exported / "tokenizer.json"
    prefix = Manifest.read(files.int8).prefix
    texts = [prefix + text for text in sample.texts]
    whole = tokenise(load_tokenizer(path, 1_000_000), texts)
    lengths = [min(row.size, files.limit) for row in whole]
    return lengths, sum(row.size > files.limit for row in whole)


def all_vectors(children: dict[str, Child], work: Path) -> dict[str, Any]:
    """Have each contender embed the texts once, outside of the measurement."""
    found = {}
    for name, child in children.items():
        if child.contender.precision:
            path = work / f"{name}.npy"
            child.ask(str(path))
            found[name] = np.load(path)
    return found


def render_page(results: Path = RESULTS, page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Write the tables of docs/performance.md, and the curve, anew from the results there are."""
    found = {
        name: read(path) for name in report.PARTS if (path := results / f"{name}.json").exists()
    }
    if "embed-curve" in found:
        curve.draw(found["embed-curve"]["points"], picture)
    write_page(page, {name: report.PARTS[name](figures) for name, figures in found.items()})


if __name__ == "__main__":
    main()
