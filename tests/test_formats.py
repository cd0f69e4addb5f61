"""The page of binary forms: its tables are those of the code."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from consumer.stages.segmentation.restoration import ProfileRestoration
from consumer.state.checkpoint_format import FORMAT_VERSION, MAGIC, Header, Owner, write_checkpoint
from models.profiles.snapshot import ProfileSnapshot
from models.profiles.table import LINKS, NUMBERS, ProfileRows, ProfileTable
from models.recommendation import item_codec, parts
from schemas import item_events, rule_states, sampled_users, samples, states
from tests.stubs import HashingEmbedder

PAGE = (Path(__file__).parents[1] / "docs/formats.md").read_text(encoding="utf-8")
CHECKPOINT = PAGE.partition("## Local checkpoints")[2]


def table(head: str, text: str = PAGE) -> list[list[str]]:
    """Give the cells of the table under a line of heads, which is there once."""
    [body] = re.findall(rf"^\| {re.escape(head)} \|$\n^[|-]+$\n((?:^\|.*\|$\n?)+)", text, re.M)
    return [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in body.splitlines()]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def by_name(head: str, text: str) -> dict[str, str]:
    """Give the types of what is named in a table of names and types."""
    return {name: names(kind)[0] for cell, kind, _ in table(head, text) for name in names(cell)}


@pytest.mark.parametrize(
    ("head", "tags"),
    [
        ("Sections of a profile", states.Tag),
        ("Sections of a sample", samples.SampleTag),
        ("Sections of an event of an item", item_events.ItemEventTag),
        ("Sections of an item", item_codec.ItemTag),
        ("Sections of a part", parts.PartTag),
        ("Sections of a sampled user", sampled_users.SampledTag),
        ("State of rules", rule_states.Tag),
    ],
)
def test_the_sections_of_a_record_are_those_of_the_code(head, tags):
    part = PAGE.partition(f"## {head}\n")[2].partition("\n## ")[0]
    assert [int(row[0]) for row in table("tag | name | content", part)] == [*tags]


def full() -> ProfileTable:
    """A table with something in every column."""
    made = ProfileTable(4, 300, float16_limit=1, references=8, items=8)
    rows = ProfileRows.empty(["ann", "bob"], 4, 300, 8, 8)
    rows.sums[:], rows.weights[:], rows.events[:] = 0.5, [0.5, 9], [1, 299]
    rows.recent[:] = 7
    rows.references["hash"] = [[1] * 8, [1, 2, *[0] * 6]]
    rows.items[:, :2] = 1
    rows.items[1] = 1
    rows.terms, rows.extra, rows.labels = [{"tea": 1.0}, {}], [b"x", b""], ["tea", None]
    made.put(rows)
    return made


def test_the_columns_of_a_checkpoint_are_those_of_the_code():
    columns = ProfileSnapshot.of(full()).columns()
    found: dict[str, set[str]] = {}
    for name, column in columns.items():
        general = re.sub(r"^(ids|references|items)\d+", r"\1K", re.sub(r"\.\d+$", ".N", name))
        found.setdefault(general, set()).add(column.dtype.str.removeprefix("|"))
    page = by_name("column | dtype | content", CHECKPOINT)
    assert found == {name: {kind} for name, kind in page.items()}
    assert {"sums32.0", "sums16.0", "ids0.0", "ids4.0"} <= columns.keys()
    assert (columns["links"].shape[1], columns["numbers.0"].shape[1]) == (28, 80)
    assert (columns["references0.0"].shape[1], columns["references1.0"].shape[1]) == (112, 224)
    assert (columns["items0.0"].shape[1], columns["items1.0"].shape[1]) == (5, 9)
    assert columns["item_links"].shape[1] == 5


def test_the_fields_of_its_rows_are_those_of_the_code():
    part = CHECKPOINT.partition("The fields of `numbers`")[2]
    numbers, links = part.split("Those of `links`")
    for text, dtype in ((numbers, NUMBERS), (links, LINKS)):
        assert [*by_name("field | dtype | content", text).items()] == [
            (name, kind.removeprefix("|")) for name, kind in dtype.descr
        ]


def test_its_beginning_is_as_the_page_says():
    kind = ProfileRestoration("user-profiles", 0, HashingEmbedder(4), 300, 1.0, items=8).kind
    owner = Owner(cluster_id="c", group_id="g", topic="t", topic_id="i", partition=0, kind=kind)
    file = io.BytesIO()
    snapshot = ProfileSnapshot.of(full())
    write_checkpoint(file, owner, 5, snapshot, taken_at=1.0, cancelled=lambda: False)
    whole = file.getvalue()
    length = int.from_bytes(whole[12:16], "little")
    assert (16 + length + 32) % 4096 == len(whole) % 4096 == 0
    assert whole[:8] == MAGIC == b"SEGMCKPT"
    assert int.from_bytes(whole[8:12], "little") == FORMAT_VERSION
    assert f"| 4 | version of the format, unsigned: {FORMAT_VERSION} |" in CHECKPOINT
    header = json.loads(whole[16 : 16 + length])
    fields = dict(table("field | what", CHECKPOINT))
    assert [names(cell)[0] for cell in fields] == [*Header.model_fields] == [*header]
    assert names(fields["`owner`"]) == [*Owner.model_fields, *kind]
    assert names(fields["`columns`"]) == [*header["columns"][0]]
    # Where the first column is, whole pages behind the header.
    first = header["columns"][0]
    at = 16 + length + 32
    size = int(np.prod(first["shape"]))
    assert whole[at : at + size] == ProfileSnapshot.of(full()).columns()["layout"].tobytes()
