"""From rounds to figures, and from figures to the tables of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.embedding.lineup import CALLS, ENGINE, OPENVINO, WORKER
from benchmarks.embedding.rounds import Contender, Measured, Pass
from benchmarks.markdown import Cell, columns, named
from benchmarks.shared import Figures


def fidelity(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> dict[str, float]:
    """Compare vectors with a reference's, (texts, dimensions) both, by their cosines.

    Gives the mean, the 1st percentile and the least. Lengths are taken out: bf16 ones are not 1.
    """
    one, other = (
        each / np.linalg.norm(each.astype(np.float64), axis=1, keepdims=True)
        for each in (vectors, reference)
    )
    cosine = np.sum(one * other, axis=1)
    return {
        "mean": float(cosine.mean()),
        "p1": float(np.percentile(cosine, 1)),
        "min": float(cosine.min()),
    }


def speed(passes: Sequence[Pass], texts: int, tokens: int) -> Figures:
    """Turn passes over so many texts and tokens into rates: by their median, and the best."""
    seconds = [each.seconds for each in passes]
    median, best = statistics.median(seconds), min(seconds)
    cores = statistics.median(each.processor_seconds / each.seconds for each in passes)
    spent = statistics.median(each.processor_seconds for each in passes)
    return {
        "seconds": [round(each, 4) for each in seconds],
        "texts_per_second": round(texts / median, 2),
        "tokens_per_second": round(tokens / median, 1),
        "best_tokens_per_second": round(tokens / best, 1),
        "cores": round(cores, 2),
        "tokens_per_processor_second": round(tokens / spent, 1),
    }


def peaks(measured: Mapping[str, Mapping[str, float]]) -> dict[str, Figures]:
    """The machine's peak by type of number: the most that any library was seen to do."""
    found: dict[str, Figures] = {}
    for library, rates in measured.items():
        for kind, flops in rates.items():
            if flops > found.get(kind, {"flops": 0.0})["flops"]:
                found[kind] = {"flops": flops, "by": library}
    return found


def summarise(
    contenders: Sequence[Contender],
    measured: Measured,
    cosines: Mapping[str, Mapping[str, float]],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    texts: int,
    tokens: int,
    flops: int,
) -> Figures:
    """Give what is written down of the contenders, in their order.

    Parameters
    ----------
    texts, tokens, flops
        Of one pass: texts, tokens without padding, operations as `EncoderShape` counts them.
    """
    peak = peaks(measured.peaks)
    rows = []
    for each in contenders:
        if each.name not in measured.passes:
            continue
        row: Figures = {
            "name": each.name,
            "label": each.label,
            "precision": each.precision,
            "peer": each.peer,
            "setting": dict(settings.get(each.name, {})),
            **speed(measured.passes[each.name], texts, tokens),
            "cosine": dict(cosines[each.name]) if each.name in cosines else None,
        }
        if best := peak.get(each.precision):
            per_second = flops / tokens * row["tokens_per_second"]
            row["share_of_peak"] = round(per_second / best["flops"], 4)
        rows.append(row)
    _add_ratios(rows)
    return {"peak": peak, "contenders": rows}


def _add_ratios(rows: list[Figures]) -> None:
    rate = {row["name"]: row["tokens_per_second"] for row in rows}
    fp32 = [row["tokens_per_second"] for row in rows if row["peer"] and row["precision"] == "fp32"]
    for row in rows:
        own = row["tokens_per_second"]
        row["to_best_fp32_peer"] = round(own / max(fp32), 3) if fp32 else None
        row["to_openvino_bf16"] = round(own / rate[OPENVINO], 3) if OPENVINO in rate else None
        if row["name"] == WORKER:
            for key, other in (("to_engine_in_calls", CALLS), ("to_engine_alone", ENGINE)):
                if other in rate:
                    row[key] = round(own / rate[other], 3)


def per_processor_second(row: Figures) -> float:
    """Give the tokens of a second of processor time, which neighbours hardly move."""
    told = row.get("tokens_per_processor_second")  # older results have cores alone
    return float(row["tokens_per_second"] / row["cores"] if told is None else told)


FAITHFUL = 0.99
"""Mean cosine to fp32 from which on a peer counts as one."""


def table(figures: Figures) -> str:
    """Write the contenders' table in Markdown."""
    rows = figures["contenders"]
    fastest = max(
        (
            row["tokens_per_second"]
            for row in rows
            if row["peer"] and row["cosine"] and row["cosine"]["mean"] >= FAITHFUL
        ),
        default=None,
    )

    def to_fastest(row: Figures) -> str:
        return "" if fastest is None else f"{row['tokens_per_second'] / fastest:.2f}"

    def ratio(key: str) -> Cell:
        return lambda row: "" if row[key] is None else f"{row[key]:.2f}"

    def cosine(key: str) -> Cell:
        return lambda row: f"{row['cosine'][key]:.4f}" if row["cosine"] else ""

    def share(row: Figures) -> str:
        found = row.get("share_of_peak")
        return "" if found is None else f"{100 * found:.0f} %"

    cells: dict[str, Cell] = {
        "": lambda row: str(row["label"]) if row["peer"] else f"**{row['label']}**",
        "texts/s": "{texts_per_second:,.0f}",
        "tokens/s": "{tokens_per_second:,.0f}",
        "tokens a CPU second": lambda row: f"{per_processor_second(row):,.0f}",
        "times the best fp32 peer": ratio("to_best_fp32_peer"),
        "times OpenVINO bf16": ratio("to_openvino_bf16"),
        "times the fastest peer": to_fastest,
        "share of peak": share,
        "cosine to fp32: mean": cosine("mean"),
        "1st percentile": cosine("p1"),
        "least": cosine("min"),
    }
    # Without peers, or without a reference, there is nothing to say in some of them.
    told = {
        name: cell
        for name, cell in cells.items()
        if isinstance(cell, str) or any(cell(row) for row in rows)
    }
    return columns(rows, told, texts=1)


def description(figures: Figures) -> str:
    """Tell in a paragraph what the table was measured on."""
    data, machine = figures["data"], figures["machine"]
    peak = ", ".join(
        f"{kind} {each['flops'] / 1e12:.2f} TFLOP/s" for kind, each in figures["peak"].items()
    )
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    sentences = [
        f"{data['texts']:,} texts of {data['tokens'] / data['texts']:.0f} tokens on average "
        f"({data['cut']:,} cut at {data['limit']}), mix “{data['mix']}”; {figures['threads']} "
        f"threads each; medians of {figures['rounds']} rounds.",
        f"{machine['cpu']}, {machine['cores']} cores, {', '.join(machine['cpu_flags'])}; "
        f"{machine['system']}, Python {machine['python']}; {versions}.",
    ]
    if peak:
        sentences.append(f"Peak of large matrix products: {peak}.")
    for row in figures["contenders"]:
        for key, what in (
            ("to_engine_in_calls", "in calls of the same size"),
            ("to_engine_alone", "given all texts at once"),
        ):
            if key in row:
                share = f"{100 * row[key]:.1f} %"
                sentences.append(f"Inside the worker: {share} of the engine alone {what}.")
    return "\n".join(sentences)


def curve_text(figures: Figures) -> str:
    """Show the picture of speed against fidelity, and its points as a table."""
    cells = {"": "{label}", "tokens/s": "{tokens_per_second:,.0f}", "1 - mean cosine": "{loss:.5f}"}
    shown = columns(figures["points"], cells, texts=1)
    return f"![Tokens per second by loss of fidelity](embedding-curve.png)\n\n{shown}"


def quality_text(figures: Figures) -> str:
    """Write the V-measures of the precisions in Markdown."""
    cells = {
        "": "{name}",
        "by": "{label}",
        "V-measure, mean": "{v_measure:.4f}",
        "over the seeds": "{least:.4f} to {most:.4f}",
    }
    return (
        f"{figures['users']:,} users with {figures['events']:,} events, k-means with "
        f"{figures['segments']} clusters, {figures['seeds']} seeds. The means are at most "
        f"{figures['apart']:.4f} apart; the goal is {figures['goal']:g}.\n\n"
        f"{columns(named(figures['precisions']), cells, texts=2)}"
    )


def engine_text(figures: Figures) -> str:
    """Write what contenders were measured on, and their table."""
    return f"{description(figures)}\n\n{table(figures)}"


PARTS = {
    "embed": engine_text,
    "embed-short": engine_text,
    "embed-no-amx": engine_text,
    "embed-openvino": engine_text,
    "embed-multilingual": engine_text,
    "embed-curve": curve_text,
    "embed-quality": quality_text,
}
"""What is rendered, by the name of the results' file and of the document's marks."""
