"""How much of what tells a person is found in made-up texts, by kind, and what else is.

    python -m benchmarks.personal

A mention is found where all of it is masked, as whatever kind. A text counts as wrongly masked
where something is masked beside what is labelled.

"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import embedding_facts
from benchmarks.markdown import table
from benchmarks.shared import DOCS, Figures, parser, run, write_page
from models.text.personal import Kind, find_personal

EXAMPLES = Path(__file__).parent / "personal_examples.txt"
_MENTION = re.compile(r"\{(?P<kind>[a-z ]+):(?P<text>[^{}]+)\}")
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Example:
    """A text, and where it tells a person, with the kinds."""

    text: str
    mentions: tuple[tuple[int, int, Kind], ...]
    chinese: bool


def examples(path: Path = EXAMPLES) -> Iterator[Example]:
    """Read labelled texts."""
    chinese = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            chinese = chinese or line == "# Chinese"
            continue
        parts, mentions, done, length = [], [], 0, 0
        for each in _MENTION.finditer(line):
            before = line[done : each.start()]
            start = length + len(before)
            mentions.append((start, start + len(each["text"]), Kind(each["kind"])))
            parts += [before, each["text"]]
            length = start + len(each["text"])
            done = each.end()
        yield Example("".join([*parts, line[done:]]), tuple(mentions), chinese)


def judge(every: list[Example]) -> Figures:
    """Count what is found, by kind and language."""
    told: Counter[tuple[str, bool]] = Counter()
    found: Counter[tuple[str, bool]] = Counter()
    wrong: Counter[str] = Counter()
    clean = wrongly = 0
    for example in every:
        masked = find_personal(example.text)
        for start, end, kind in example.mentions:
            told[kind.value, example.chinese] += 1
            found[kind.value, example.chinese] += any(
                each.start <= start and end <= each.end for each in masked
            )
        others = [
            each
            for each in masked
            if not any(start < each.end and each.start < end for start, end, _ in example.mentions)
        ]
        wrong.update(each.kind.value for each in others)
        clean += not example.mentions
        wrongly += bool(others) and not example.mentions
    kinds = {
        kind.value: {
            "english": told[kind.value, False],
            "english_found": found[kind.value, False],
            "chinese": told[kind.value, True],
            "chinese_found": found[kind.value, True],
            "wrong": wrong[kind.value],
        }
        for kind in Kind
    }
    return {"texts": len(every), "without": clean, "without_masked": wrongly, "kinds": kinds}


def cost(every: list[Example]) -> float:
    """Give the processor time of a text in microseconds."""
    for example in every:
        find_personal(example.text)
    begin = time.process_time()
    for _ in range(_ROUNDS):
        for example in every:
            find_personal(example.text)
    return (time.process_time() - begin) / _ROUNDS / len(every) * 1e6


def page(figures: Figures) -> str:
    """Write what the page says."""
    rows: list[list[str]] = []
    for kind, each in figures["kinds"].items():
        cells = [
            f"{each[f'{name}_found']} of {each[name]}" if each[name] else ""
            for name in ("english", "chinese")
        ]
        rows.append([kind, *cells, str(each["wrong"])])
    return (
        f"{figures['texts']} texts, of which {figures['without']} tell nobody; of these "
        f"{figures['without_masked']} are masked in part. {figures['microseconds']:.0f} µs of "
        f"processor time a text on average, on {figures['machine']['cpu']}.\n\n"
        + table(("kind", "found, English", "found, Chinese", "masked wrongly"), rows, texts=1)
    )


def main() -> None:
    arguments = parser(__doc__ or "", "personal.json", page=True).parse_args()

    def measure(_: Path) -> Figures:
        every = list(examples())
        machine: dict[str, Any] = embedding_facts()
        return {"machine": machine, **judge(every), "microseconds": round(cost(every), 1)}

    figures = run(arguments, measure)
    write_page(DOCS / "privacy.md", {"personal": page(figures)})


if __name__ == "__main__":
    main()
