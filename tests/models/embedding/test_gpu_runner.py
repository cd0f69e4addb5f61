import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.embedding.batching import Layout, PackedLayout, PaddedLayout
from models.embedding.errors import DeviceFailedError
from models.embedding.gpu.runner import GpuRunner
from models.embedding.gpu.session import (
    BoundSession,
    Failure,
    cuda_options,
    failure_of,
    tensorrt_options,
)
from models.embedding.runner_types import RunnerTotals

DIMENSIONS = 3
POISON = 999

ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
    "MatMul node. Name:'x' Status Message: /onnxruntime_src/onnxruntime/core/framework/"
    "bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) "
)
MESSAGES = {
    ARENA + "Failed to allocate memory for requested buffer of size 939524096": "OUT_OF_MEMORY",
    ARENA + "Available memory of 0 is smaller than requested bytes of 97517568": "OUT_OF_MEMORY",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; expr=cudaMalloc(&p, size);": (
        "OUT_OF_MEMORY"
    ),
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&h);": (
        "OUT_OF_MEMORY"
    ),
    "CUDNN failure 2: CUDNN_STATUS_ALLOC_FAILED ; GPU=0": "OUT_OF_MEMORY",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED": "OUT_OF_MEMORY",
    "std::bad_alloc": "OUT_OF_MEMORY",
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0": "DEVICE_LOST",
    "CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=h": "DEVICE_LOST",
    "CUDA failure 100: no CUDA-capable device is detected ; GPU=0": "DEVICE_LOST",
    "CUDA failure 9: invalid configuration argument ; GPU=0": "OTHER",
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions": "OTHER",
}


def text(length: int, mark: int, *, poisoned: bool = False) -> NDArray[np.int64]:
    """A text that tells its length and mark to whoever sums and counts its tokens."""
    row = np.full(length, mark, dtype=np.int64)
    if poisoned:
        row[0] = POISON
    return row


def vector_of(row: NDArray[Any]) -> list[float]:
    return [float(row.sum()), float(row.size), 1.0]


@dataclass
class ScriptedSession:
    """Gives each text the sum of its tokens and their number, and fails as it is told."""

    most_tokens: float = np.inf
    fails_on: int | None = None
    error: str = "[ONNXRuntimeError] : 1 : FAIL : a text it does not like"
    gives_nan_for: int | None = None
    lost_after: float = np.inf
    runs: list[int] = field(default_factory=list)
    busy: threading.Lock = field(default_factory=threading.Lock)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        assert self.busy.acquire(blocking=False), "used by two threads at once"
        try:
            return self._run(feeds)
        finally:
            self.busy.release()

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        ids = feeds["input_ids"]
        self.runs.append(ids.size)
        if len(self.runs) > self.lost_after:
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0")
        if ids.size > self.most_tokens:
            raise RuntimeError(ARENA + "Failed to allocate memory for requested buffer of size 1")
        if self.fails_on is not None and (ids == self.fails_on).any():
            raise RuntimeError(self.error)
        if "attention_mask" in feeds:
            texts = [row[kept == 1] for row, kept in zip(ids, feeds["attention_mask"], strict=True)]
        else:
            texts = np.split(ids, feeds["cumulative_sequence_length"][1:-1])
        vectors = np.array([vector_of(row) for row in texts], dtype=np.float32)
        if self.gives_nan_for is not None:
            vectors[[self.gives_nan_for in row for row in texts], 1] = np.inf
        return vectors


def runner_of(
    *sessions: Any, budget: int = 256, layout: Layout | None = None, most_tokens: int = 64
) -> GpuRunner:
    return GpuRunner(
        sessions,
        layout or PackedLayout(0, "mean"),
        dimensions=DIMENSIONS,
        most_tokens=most_tokens,
        pad_id=0,
        batch_tokens=budget,
    )


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "packed": lambda: PackedLayout(0, "mean"),
    "padded": lambda: PaddedLayout(0, 100),
    "few": lambda: PaddedLayout(0, 100, most_texts=3),
}


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 100), max_size=40),
    bad=st.sets(st.integers(0, 39)),
    budget=st.integers(1, 1500),
    memory=st.integers(128, 2000),
    sessions=st.integers(1, 3),
    layout=st.sampled_from(list(LAYOUTS)),
)
def test_every_text_comes_back_in_its_place_and_only_those_fail_that_fail_alone(
    lengths: list[int], bad: set[int], budget: int, memory: int, sessions: int, layout: str
) -> None:
    rows = [text(n, 1 + i, poisoned=i in bad) for i, n in enumerate(lengths)]
    scripted = [ScriptedSession(memory, fails_on=POISON) for _ in range(sessions)]
    runner = runner_of(*scripted, budget=budget, layout=LAYOUTS[layout]())
    vectors = runner.run(rows)
    runner.close()
    assert vectors.shape == (len(rows), DIMENSIONS)
    assert vectors.dtype == np.float32
    for index, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
        # A text alone is rounded up to a bucket of at most 128 tokens, which the memory holds.
        expected = [np.nan] * DIMENSIONS if index in bad else vector_of(row)
        np.testing.assert_array_equal(vector, expected)
    assert runner.totals.failed_texts == len(bad & set(range(len(rows))))
    assert runner.totals.budget <= budget


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=30),
    budget=st.integers(1, 4000),
    memory=st.integers(64, 200),
    layout=st.sampled_from(list(LAYOUTS)),
)
def test_halving_ends_and_only_texts_too_large_alone_fail(
    lengths: list[int], budget: int, memory: int, layout: str
) -> None:
    rows = [text(n, 1 + i) for i, n in enumerate(lengths)]
    session = ScriptedSession(memory)
    runner = runner_of(session, budget=budget, layout=LAYOUTS[layout]())
    vectors = runner.run(rows)
    runner.close()
    for row, vector in zip(rows, vectors, strict=True):
        if np.isnan(vector).any():
            assert LAYOUTS[layout]().pack([row], 1).tokens > memory
        else:
            np.testing.assert_array_equal(vector, vector_of(row))
    assert runner.totals.oom_halvings <= budget.bit_length()
    assert len(session.runs) <= 4 * len(rows) + 2 * budget.bit_length()


def test_a_lower_budget_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    session = ScriptedSession(most_tokens=100)
    runner = runner_of(session, budget=256)
    rows = [text(16, i + 1) for i in range(16)]
    runner.run(rows)
    assert session.runs == [256, 128, *[64] * 4]
    assert runner.totals == RunnerTotals(
        batches=4, computed_tokens=256, oom_halvings=2, failed_texts=0, budget=64
    )
    assert "too small for 256 tokens: 128 a batch from now on" in caplog.text
    runner.run(rows)
    assert session.runs[6:] == [64] * 4
    assert runner.totals.oom_halvings == 2
    runner.close()


def test_sessions_that_run_out_of_memory_at_once_halve_the_budget_once() -> None:
    meeting = threading.Barrier(2, timeout=20)

    @dataclass
    class Together(ScriptedSession):
        def _run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
            if not self.runs:
                meeting.wait()
            return super()._run(feeds)

    runner = runner_of(Together(most_tokens=200), Together(most_tokens=200), budget=256)
    # More batches than one session may take ahead, so that the other has one too.
    vectors = runner.run([text(16, 1) for _ in range(128)])
    runner.close()
    assert not np.isnan(vectors).any()
    assert runner.totals.oom_halvings == 1
    assert runner.totals.budget == 128


def test_a_text_longer_than_the_budget_runs_alone() -> None:
    session = ScriptedSession()
    runner = runner_of(session, budget=64)
    rows = [text(500, 1), text(3, 2)]
    np.testing.assert_array_equal(runner.run(rows), [vector_of(row) for row in rows])
    assert session.runs == [512, 64]
    runner.close()


def test_a_vector_that_is_not_finite_is_a_row_of_nan_and_counted() -> None:
    runner = runner_of(ScriptedSession(gives_nan_for=7))
    vectors = runner.run([text(3, 5), text(3, 7), text(3, 6)])
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]
    assert runner.totals.failed_texts == 1
    runner.close()


def test_a_text_that_fails_alone_costs_its_neighbours_only_time() -> None:
    session = ScriptedSession(fails_on=POISON)
    runner = runner_of(session, budget=1024)
    rows = [text(8, i + 1, poisoned=i == 9) for i in range(64)]
    vectors = runner.run(rows)
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [9]
    assert runner.totals.failed_texts == 1
    assert runner.totals.oom_halvings == 0
    assert len(session.runs) <= 2 * 7 + 1  # two halves a cut, and the shortest text
    runner.close()


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_lost_device_raises_at_once_and_fails_no_text(sessions: int) -> None:
    scripted = [ScriptedSession(lost_after=1) for _ in range(sessions)]
    runner = runner_of(*scripted, budget=64)
    with pytest.raises(DeviceFailedError, match=r"CUDA failure 700.*nvidia-smi"):
        runner.run([text(30, i + 1) for i in range(40)])
    assert runner.totals.failed_texts == 0
    assert all(len(session.runs) <= 3 for session in scripted)
    runner.close()


def test_a_device_that_fails_on_every_text_is_to_blame_itself() -> None:
    session = ScriptedSession(most_tokens=0)
    runner = runner_of(session)
    with pytest.raises(DeviceFailedError, match="Failed to allocate memory"):
        runner.run([text(30, i + 1) for i in range(8)])
    assert runner.totals.failed_texts == 0
    runner.close()


def test_no_texts_give_no_vectors() -> None:
    runner = runner_of(ScriptedSession())
    assert runner.run([]).shape == (0, DIMENSIONS)
    runner.close()


def test_several_callers_share_the_sessions() -> None:
    runner = runner_of(ScriptedSession(), ScriptedSession(), budget=64)
    rows = [text(1 + i % 50, i + 1) for i in range(100)]
    expected = np.array([vector_of(row) for row in rows], dtype=np.float32)
    found: list[NDArray[np.float32]] = []
    callers = [threading.Thread(target=lambda: found.append(runner.run(rows))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    runner.close()
    assert len(found) == 4
    for vectors in found:
        np.testing.assert_array_equal(vectors, expected)


def test_the_next_batch_is_laid_out_while_one_runs() -> None:
    packed = threading.Semaphore(0)

    class Watched(PackedLayout):
        def pack(self, rows: Any, budget: int) -> Any:
            packed.release()
            return super().pack(rows, budget)

    @dataclass
    class Waiting(ScriptedSession):
        def _run(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
            if len(self.runs) < 3:  # its own batch and the one after it
                assert packed.acquire(timeout=20)
                assert len(self.runs) or packed.acquire(timeout=20)
            return super()._run(feeds)

    runner = runner_of(Waiting(), budget=64, layout=Watched(0, "mean"))
    runner.run([text(60, i + 1) for i in range(4)])
    runner.close()


def test_the_warm_up_runs_every_bucket_in_every_session_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    sessions = ScriptedSession(), ScriptedSession()
    runner = runner_of(*sessions, budget=256)
    runner.warm_up()
    for session in sessions:
        assert session.runs == [256, 224, 192, 160, 128, 112, 96, 80, 64]
    assert "Warming up 2 sessions on cuda: 9 shapes" in caplog.text
    assert "Session 2 of 2 is warm" in caplog.text
    assert runner.totals == RunnerTotals(budget=256)
    runner.run([text(5, 1)])
    runner.close()


def test_the_warm_up_finds_the_budget_that_the_memory_holds() -> None:
    session = ScriptedSession(most_tokens=130)
    runner = runner_of(session, budget=256)
    runner.warm_up()
    assert session.runs == [256, 128, 128, 128, 112, 96, 80, 64]
    assert runner.totals == RunnerTotals(oom_halvings=1, budget=128)
    runner.close()


@pytest.mark.parametrize("message", MESSAGES)
def test_errors_are_told_apart_by_their_text(message: str) -> None:
    assert failure_of(RuntimeError(message)) is Failure[MESSAGES[message]]


def test_a_bound_session_copies_once_into_memory_that_it_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    class Memory:
        def __init__(self, size: int) -> None:
            made.append(size)
            self.data = np.zeros(size, np.uint8)
            self.copies = 0

        def update_inplace(self, data: NDArray[np.uint8]) -> None:
            assert data.shape == self.data.shape
            self.data[:] = data
            self.copies += 1

        def data_ptr(self) -> int:
            return self.data.ctypes.data

    memories: list[Memory] = []

    def buffer(size: int, memory: str) -> Memory:
        assert memory == "cuda"
        memories.append(Memory(size))
        return memories[-1]

    monkeypatch.setattr("models.embedding.gpu.session.device_buffer", buffer)

    class Binding:
        def __init__(self) -> None:
            self.inputs: dict[str, NDArray[Any]] = {}

        def bind_input(
            self, name: str, memory: str, number: int, kind: Any, shape: list[int], start: int
        ) -> None:
            assert (memory, number) == ("cuda", 0)
            place = start - memories[-1].data_ptr()
            assert place % 256 == 0
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            data = memories[-1].data[place : place + size]
            self.inputs[name] = data.view(kind).reshape(shape).copy()

        def bind_output(self, name: str, memory: str) -> None:
            assert (name, memory) == ("embedding", "cpu")

        def get_outputs(self) -> Any:
            class Output:
                def numpy(self) -> NDArray[np.float32]:
                    return np.ones((1, 1), np.float32)

            return [Output()]

    class Session:
        binding = Binding()

        def io_binding(self) -> Binding:
            return self.binding

        def run_with_iobinding(self, binding: Binding) -> None:
            assert binding is self.binding

    session = BoundSession(Session())
    layout = PackedLayout(0, "mean")
    for lengths in ((3, 9), (9, 3), (5,), (30, 30)):
        feeds = layout.pack([text(n, n) for n in lengths], 64).feeds
        session.run(feeds)
        assert Session.binding.inputs.keys() == feeds.keys()
        for name, values in feeds.items():
            np.testing.assert_array_equal(Session.binding.inputs[name], values)
            assert Session.binding.inputs[name].dtype == values.dtype
    assert len(made) == len(set(made))
    assert sum(memory.copies for memory in memories) == 4


def test_the_options_of_the_providers_are_words_of_onnx_runtime(tmp_path: Any) -> None:
    options = tensorrt_options("fp16", tmp_path, most_texts=64, most_tokens=256, usual_tokens=64)
    assert options["trt_profile_min_shapes"] == (
        "input_ids:1x1,attention_mask:1x1,token_type_ids:1x1"
    )
    assert options["trt_profile_opt_shapes"].startswith("input_ids:64x64,")
    assert options["trt_profile_max_shapes"].endswith(",token_type_ids:64x256")
    assert options["trt_fp16_enable"] == "True"
    assert tensorrt_options("fp32", tmp_path, most_texts=1, most_tokens=8, usual_tokens=64)[
        "trt_profile_opt_shapes"
    ].startswith("input_ids:1x8")
    assert cuda_options("fp32")["use_tf32"] == "0"
