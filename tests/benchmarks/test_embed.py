"""The benchmark of the embedding engine: counts, turns, report, and small contenders."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks import embed, machine
from benchmarks.embedding import child, curve, engines, peers, report, rounds, sample, tokens
from benchmarks.embedding.flops import EncoderShape
from benchmarks.embedding.lineup import ENGINE, INSIDE, OPENVINO, WORKER, Files, lineup
from benchmarks.embedding.peak import OrtPeak
from benchmarks.embedding.rounds import Child, Contender, ContenderError, Measured, Pass
from benchmarks.shared import RESULTS
from tests.models.embedding.tiny_bert import MAX_TOKENS, PLAIN

TEXTS = ["great coffee .", "the phone broke again !", "a", " ".join(PLAIN * 3), "late late late"]


# --- the count of operations --------------------------------------------------------------------


def naive_flops(layers: int, hidden: int, inner: int, heads: int, length: int) -> int:
    """Every matrix product of a BERT, one by one: rows, inner dimension, columns."""
    head = hidden // heads
    products = []
    for _ in range(layers):
        products += [(length, hidden, hidden)] * 3
        products += [(length, head, length), (length, length, head)] * heads
        products += [(length, hidden, hidden), (length, hidden, inner), (length, inner, hidden)]
    return sum(2 * rows * depth * columns for rows, depth, columns in products)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 64), st.integers(1, 300))
def test_operations_are_those_of_all_matrix_products(layers, heads, head, length):
    hidden, inner = heads * head, 3 * heads * head
    shape = EncoderShape(layers, hidden, inner)
    assert shape.flops(length) == naive_flops(layers, hidden, inner, heads, length)
    assert shape.total([length, 1]) == shape.flops(length) + shape.flops(1)


def test_a_token_of_minilm_costs_what_is_published(tmp_path):
    config = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = EncoderShape.read(tmp_path / "config.json")
    assert shape.flops(64) / 64 == pytest.approx(21.8e6, rel=0.002)


# --- texts and batches ---------------------------------------------------------------------------


def test_texts_are_spaced_evenly_and_cleaned_and_none_comes_twice(events):
    found = sample.read_sample(events, 10)
    assert len(found.texts) == len(set(found.texts)) == len(found.lines) == 10
    numbers = [int(json.loads(line)["event_id"]) for line in found.lines]
    assert [number // 6 for number in numbers] == list(range(10))


def test_short_texts_have_at_most_sixty_words(events, tmp_path):
    long = json.loads(events.read_text().splitlines()[0]) | {"text": "coffee " * 61}
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(map(json.dumps, [long, long | {"text": "coffee " * 60}])))
    assert [len(text.split()) for text in sample.read_sample(path, 1, "short").texts] == [60]
    assert [len(text.split()) for text in sample.read_sample(path, 1, "posts").texts] == [61]


def test_a_file_without_usable_texts_is_refused(tmp_path):
    (tmp_path / "none.jsonl").write_text('{"user_id": "x"}\n')
    with pytest.raises(sample.SampleError, match="no usable text"):
        sample.read_sample(tmp_path / "none.jsonl", 5)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 9))
def test_batches_hold_every_text_once_and_order_is_restored(lengths, size):
    rows = [np.full(length, place) for place, length in enumerate(lengths)]
    for batches in (tokens.by_length(rows, size), tokens.as_they_come(len(rows), size)):
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
        assert all(batch.size == size for batch in batches[:-1])
        firsts = [np.array([[rows[i][0]] for i in batch]) for batch in batches]
        assert peers.restored(batches, firsts)[:, 0].tolist() == list(range(len(rows)))
    sorted_lengths = [lengths[i] for i in np.concatenate(tokens.by_length(rows, size))]
    assert sorted_lengths == sorted(lengths, reverse=True)


@given(arrays(np.float32, (3, 5, 4), elements=st.floats(1, 2, width=32)))
def test_pooling_is_the_mean_over_real_tokens(output):
    lengths = [1, 5, 3]
    batch = tokens.pad([np.ones(length, np.int64) for length in lengths])
    for row, vector, length in zip(output, tokens.pool(output, batch.mask), lengths, strict=True):
        mean = row[:length].mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-5)


# --- contenders ----------------------------------------------------------------------------------


def test_contenders_agree_on_the_same_texts(model):
    own = {"tokenizer": str(model / "tokenizer.json"), "limit": MAX_TOKENS, "threads": 2}
    graph = str(model / "model.onnx")
    ours = engines.Ours(folder=str(model), threads=2).embed(TEXTS)
    alone = peers.OrtAlone(**own, graphs=[graph], names=["one"])
    assert len(alone.settings) == 2 * len(peers.BATCHES)
    for setting in alone.settings:
        alone.use(setting)
        np.testing.assert_allclose(alone.embed(TEXTS), ours, atol=1e-5)
    fixed = peers.FixedBatches(**own, graph=graph, batch=2)
    fixed.use(fixed.settings[0])
    np.testing.assert_allclose(fixed.embed(TEXTS), ours, atol=1e-5)


def test_the_worker_embeds_the_same_texts_inside_its_stage(model, events, tmp_path):
    found = sample.read_sample(events, 40)
    found.write(tmp_path)
    worker = engines.Worker(folder=str(model), threads=1, events=str(tmp_path / "events.jsonl"))
    worker.use({})
    ours = engines.Ours(folder=str(model), threads=1).embed(found.texts)
    for _ in range(2):  # its state begins anew each time
        np.testing.assert_allclose(worker.embed(found.texts), ours, atol=1e-5)


def test_an_engine_that_answers_from_memory_is_refused():
    first: dict[int, int] = {}
    engines.check_tokens(first, 10, 500)
    engines.check_tokens(first, 10, 500)
    with pytest.raises(engines.NotComputedError, match="without a cache"):
        engines.check_tokens(first, 10, 20)


class Paced:
    """An engine whose settings take different times on a clock of its own."""

    settings = ({"batch": 1}, {"batch": 2}, {"batch": 3})

    def __init__(self) -> None:
        self.now, self.chosen, self.seen = 0.0, 0, 0

    def use(self, setting):
        self.chosen = setting["batch"]

    def embed(self, texts):
        self.seen = len(texts)
        self.now += {1: 3.0, 2: 1.0, 3: 2.0}[self.chosen]


def test_the_fastest_setting_is_taken_and_all_tries_are_told(monkeypatch):
    engine = Paced()
    monkeypatch.setattr(child.time, "perf_counter", lambda: engine.now)
    setting, tried = child.choose(engine, ["a text"] * 256)
    assert setting == {"batch": 2}
    assert engine.chosen == 2
    assert engine.seen == 256 // child.SWEPT
    assert [each["batch"] for each in tried] == [1, 2, 3]


def test_a_peak_is_found_for_each_type_of_number():
    found = OrtPeak(threads=1, sides=(16, 32)).peak()
    assert set(found) == {"fp32", "int8"}
    assert all(rate > 0 for rate in found.values())


# --- turns ----------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(0, 3))
def test_each_round_has_every_contender_once(count, seed):
    names = [f"c{number}" for number in range(count)]
    orders = list(rounds.turns(names, 8, seed))
    assert len(orders) == 8
    assert all(sorted(order) == names for order in orders)
    assert orders == list(rounds.turns(names, 8, seed))


def test_no_contender_always_follows_the_same_one():
    orders = list(rounds.turns("abcdef", 5))
    followers = {pair for order in orders for pair in pairwise(order)}
    assert all(sum(first == name for first, _ in followers) > 1 for name in "abcdef")


def test_rounds_are_done_by_turns_in_processes_of_their_own(model, events, tmp_path):
    sample.read_sample(events, 8).write(tmp_path)
    texts = tmp_path / sample.TEXTS_FILE
    where = "benchmarks.embedding.engines:Ours"
    contenders = [
        Contender("one", "One", where, {"folder": str(model)}, "fp32", peer=False),
        Contender("two", "Two", where, {"folder": str(model)}, "fp32", peer=False),
        Contender("lost", "Lost", where, {"folder": str(tmp_path / "nowhere")}, "fp32"),
    ]
    said: list[str] = []
    with rounds.started(contenders, texts, 1, said.append) as (children, failed):
        vectors = embed.all_vectors(children, tmp_path)
        measured = rounds.measure(children, 2, said.append)
    assert set(children) == set(measured.passes) == {"one", "two"}
    assert "MissingFileError" in failed["lost"]
    assert all(len(each) == 2 for each in measured.passes.values())
    np.testing.assert_array_equal(vectors["one"], vectors["two"])


def test_a_contender_that_ends_says_its_last_words(tmp_path):
    broken = Contender("broken", "Broken", "benchmarks.nothing:There", {}, "fp32")
    with pytest.raises(ContenderError, match=r"broken ended with 1: .*benchmarks\.nothing"):
        Child(broken, tmp_path / "texts.json", 1)


def test_contenders_are_told_to_leave_the_network_alone():
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ORT_DISABLE_TELEMETRY")
    assert all(rounds.environment(2)[name] == "1" for name in names)


def test_names_in_the_lineup_are_unique_and_those_that_ratios_need_are_there(tmp_path):
    files = Files(tmp_path, tmp_path, tmp_path, tmp_path, 256, "other-python")
    found = lineup(files, [("smooth", tmp_path)])
    names = [each.name for each in found]
    assert len(names) == len(set(names))
    assert {ENGINE, WORKER, OPENVINO, embed.REFERENCE, embed.FALLBACK_REFERENCE} <= set(names)
    assert "ours-smooth" in names
    assert {each.python for each in found if not each.peer} == {sys.executable}
    assert {each.python for each in found if each.peer} == {"other-python"}


# --- figures --------------------------------------------------------------------------------------


def contender(name: str, precision: str, peer: bool = True) -> Contender:
    return Contender(name, f"The {name}", "", {}, precision, peer)


@pytest.fixture
def figures() -> report.Figures:
    contenders = [
        contender(ENGINE, "int8", peer=False),
        contender(WORKER, "int8", peer=False),
        contender("slow", "fp32"),
        contender("quick", "fp32"),
        contender(OPENVINO, "bf16"),
        contender("failed", "fp32"),
        contender("peak", ""),
    ]
    seconds = {ENGINE: (1, 2, 3), WORKER: (2.5, 2.5, 2.5), "slow": (9,), "quick": (4,)}
    seconds |= {OPENVINO: (2.5, 3, 3)}
    measured = Measured(
        {name: [Pass(each, 2 * each) for each in all_] for name, all_ in seconds.items()},
        {"a": {"fp32": 1e9, "int8": 8e9}, "b": {"fp32": 2e9}},
    )
    cosines = {ENGINE: {"mean": 0.995, "p1": 0.98, "min": 0.97}}
    found = report.summarise(
        contenders, measured, cosines, {}, texts=100, tokens=6000, flops=4_000_000_000
    )
    return {
        **found,
        "machine": {**machine.embedding_facts(), "cpu": "A CPU"},
        "versions": {"torch": "9.9"},
        "data": {"mix": "posts", "texts": 100, "tokens": 6000, "cut": 3, "limit": 256},
        "threads": 2,
        "rounds": 3,
    }


def test_ratios_are_of_medians_to_the_best_peer_in_fp32_and_to_openvino(figures):
    rows = {row["name"]: row for row in figures["contenders"]}
    assert list(rows) == [ENGINE, WORKER, "slow", "quick", OPENVINO]
    assert rows[ENGINE]["texts_per_second"] == 50
    assert rows[ENGINE]["best_tokens_per_second"] == 6000
    assert rows[ENGINE]["cores"] == 2
    assert rows[ENGINE]["to_best_fp32_peer"] == 2
    assert rows[ENGINE]["to_openvino_bf16"] == 1.5
    assert rows[WORKER]["to_engine_alone"] == 0.8
    assert rows["slow"]["cosine"] is None


def test_the_share_of_the_peak_is_that_of_the_best_library_for_the_type(figures):
    assert figures["peak"]["fp32"] == {"flops": 2e9, "by": "b"}
    rows = {row["name"]: row for row in figures["contenders"]}
    assert rows["quick"]["share_of_peak"] == 0.5  # 4e9 operations in 4 s, of 2e9 a second
    assert rows[ENGINE]["share_of_peak"] == 0.25
    assert "share_of_peak" not in rows[OPENVINO]


def test_fidelity_is_of_directions(model):
    vectors = engines.Ours(folder=str(model), threads=1).embed(TEXTS)
    assert report.fidelity(3 * vectors, vectors) == pytest.approx({"mean": 1, "p1": 1, "min": 1})
    other = vectors.copy()
    other[0] *= -1
    assert report.fidelity(other, vectors)["min"] == pytest.approx(-1)


def test_the_table_has_a_line_for_each_that_ran(figures):
    written = report.engine_text(figures)
    assert (
        "| **The ours-int8** | 50 | 3,000 | 1,500 | 2.00 | 1.50 | 25 % | 0.9950 | 0.9800 | 0.9700 |"
    ) in written
    assert "| The slow | 11 | 667 | 333 | 0.44 | 0.33 | 22 % |  |  |  |" in written
    assert "Inside the worker: 80.0 % of the engine alone given all texts at once." in written
    assert "failed" not in written


def rendered(tmp_path, text: str, results: Path) -> str:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    embed.render_page(results, page, tmp_path / "curve.png")
    return page.read_text(encoding="utf-8")


def test_the_page_is_rendered_from_results_and_keeps_its_own_words(figures, tmp_path):
    page = "before\n<!-- embed: begin -->\nold\n<!-- embed: end -->\nafter\n"
    assert rendered(tmp_path, page, tmp_path) == page
    (tmp_path / "embed.json").write_text(json.dumps(figures))
    new = rendered(tmp_path, page, tmp_path)
    assert new.startswith("before\n<!-- embed: begin -->\n100 texts of 60 tokens")
    assert new.endswith("|\n<!-- embed: end -->\nafter\n")
    assert rendered(tmp_path, new, tmp_path) == new
    with pytest.raises(ValueError, match="no marks"):
        rendered(tmp_path, "a page", tmp_path)


def test_the_page_in_the_repository_says_what_the_results_say(tmp_path):
    text = embed.PAGE.read_text(encoding="utf-8")
    assert rendered(tmp_path, text, RESULTS) == text
    assert all(f"<!-- {name}: begin -->" in text for name in report.PARTS)


def test_the_curve_has_a_point_for_each_model_that_was_compared(figures, tmp_path):
    for row in figures["contenders"]:
        row["cosine"] = {"mean": 0.99, "p1": 0.9, "min": 0.8}
    figures["points"] = curve.points(figures)
    assert [point["name"] for point in figures["points"]] == [ENGINE, OPENVINO, "quick", "slow"]
    assert figures["points"][0]["loss"] == pytest.approx(0.01)
    curve.draw(figures["points"], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "| The quick | 1,500 | 0.01000 |" in report.curve_text(figures)


def test_only_the_instruction_sets_that_matter_are_named(tmp_path):
    listing = tmp_path / "cpuinfo"
    listing.write_text(
        "model name\t: X\nflags\t\t: fpu amx_int8 avx2 avx512_vnni\n\nflags\t\t: -\n"
    )
    assert machine.cpu_flags(listing) == ["avx2", "avx512_vnni", "amx_int8"]
    assert machine.cpu_flags(tmp_path / "missing") == []


def test_arguments_name_variants_by_folders_that_are_there(tmp_path):
    parsed = embed.parse(["--variant", f"a={tmp_path}", f"b={tmp_path}", "--texts", "short"])
    assert parsed.variant == [("a", tmp_path), ("b", tmp_path)]
    assert embed.result_name(parsed) == "embed-short.json"
    with pytest.raises(SystemExit):
        embed.parse(["--variant", f"a={tmp_path / 'missing'}"])


def chosen(tmp_path, *given: str) -> set[str]:
    arguments = embed.parse(given)
    files = Files(tmp_path, tmp_path, tmp_path, tmp_path, 256)
    return {each.name for each in embed.chosen(lineup(files, arguments.variant), arguments)}


def test_contenders_are_chosen_by_name_and_for_the_curve_by_what_it_compares(tmp_path):
    assert chosen(tmp_path, "--contenders", "fixed-32", ENGINE) == {"fixed-32", ENGINE}
    drawn = chosen(tmp_path, "--curve", "--variant", f"smooth={tmp_path}")
    assert {ENGINE, "ours-fp32", "ours-smooth", embed.REFERENCE, OPENVINO} <= drawn
    assert not drawn & {WORKER, "fixed-32", "peak-ort"}
    with pytest.raises(SystemExit, match="no such contender: nobody"):
        chosen(tmp_path, "--contenders", "nobody")
    other = ("--model", "multilingual")
    assert chosen(tmp_path, *other) == {ENGINE, INSIDE}
    assert chosen(tmp_path, *other, "--contenders", INSIDE) == {INSIDE}
    with pytest.raises(SystemExit, match="openvino-bf16: not with --model multilingual"):
        chosen(tmp_path, *other, "--contenders", OPENVINO)
    with pytest.raises(SystemExit, match="has the name of another"):
        chosen(tmp_path, "--variant", f"int8={tmp_path}")


def test_a_process_to_which_amx_is_refused_cannot_get_it_any_more() -> None:
    script = (
        "import ctypes\n"
        "from benchmarks.embedding.no_amx import forbid_amx\n"
        "forbid_amx()\n"
        "library = ctypes.CDLL(None, use_errno=True)\n"
        "print(library.syscall(158, 0x1023, 18), ctypes.get_errno())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        assert done.stdout.split() == ["-1", "1"]  # EPERM
    else:
        assert "on Linux on x86-64 only" in done.stderr
