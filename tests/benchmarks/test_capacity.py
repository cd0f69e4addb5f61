"""What a load takes, computed from what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import capacity
from benchmarks.capacity import Assumed, Costs, costs_of, dollars, plan, state
from benchmarks.markdown import render

COSTS = Costs(
    prepare_us=40,
    loop_us=50,
    broker_us=10,
    bytes_out=2_000,
    bytes_a_user={"float32": 2_000, "float16": 1_200},
    checkpoint_users=500_000,
    changelog_users=100_000,
    cpu_texts=400,
)


def test_cores_follow_from_the_rate_and_from_how_busy_they_may_be() -> None:
    found = plan(100_000, COSTS, Assumed(busy=0.5, replicas=3))
    assert (found.prepare_cores, found.loop_cores, found.broker_cores) == (8, 10, 6)
    assert found.cores == 24
    assert found.gpus == 2
    assert found.cpu_model_cores == 500
    assert found.written_mb == pytest.approx(600)


def test_there_are_as_many_pods_as_the_loops_need_but_one_for_each_gpu_at_least() -> None:
    assert plan(100_000, COSTS, Assumed()).pods == 10
    assert plan(100_000, COSTS, Assumed(gpu_texts=5_000)).pods == 40
    assert plan(100_000, COSTS, Assumed()).partitions == 40
    assert plan(1_000, COSTS, Assumed()).partitions == 12


def test_users_need_pods_by_memory_or_by_the_time_of_a_restore_whichever_is_more() -> None:
    roomy = state(1_000_000_000, "float32", COSTS, Assumed(pod_gb=1_000, restore_seconds=60))
    assert (roomy.memory_gb, roomy.pods) == (2_000, 34)
    assert roomy.checkpoint_seconds == pytest.approx(1e9 / 34 / 500_000)
    tight = state(1_000_000_000, "float16", COSTS, Assumed(pod_gb=10, restore_seconds=1e6))
    assert tight.pods == 150
    assert tight.changelog_seconds == pytest.approx(1e9 / 150 / 100_000)


def test_a_million_events_cost_what_their_share_of_an_hour_costs() -> None:
    assumed = Assumed(gpu_hour=3.6, core_hour=0.036, gb_hour=0.0036)
    found = plan(100_000, COSTS, assumed)
    parts = dollars(found, state(10_000_000, "float16", COSTS, assumed), assumed)
    assert parts["GPUs"] == pytest.approx(2 * 3.6 * 10 / 3600)
    assert parts["workers' cores"] == pytest.approx(18 * 0.036 * 10 / 3600)
    assert parts["memory"] == pytest.approx(12 * 0.0036 * 10 / 3600)
    assert parts["all"] == pytest.approx(sum(v for name, v in parts.items() if name != "all"))


def test_costs_are_taken_from_the_figures_those_of_preparing_where_they_stand_apart() -> None:
    stage = {"prepare": {"least": 30}, "out": {"a": {"bytes": 100}, "b": {"bytes": 50}}}
    arms = {"worker": {"cpu_us": 90, "broker_cpu_us": 9}}
    held = [{"precision": "float32", "events": 3, "users": 10**6, "bytes_a_user": 1900}]
    figures = {"stage": {"million, short": {"this": stage}}, "memory": held}
    speeds = {"checkpoint_users_a_second": 2000, "changelog_users_a_second": 250}
    restore = {"float32": speeds}
    embed = {"contenders": [{"name": "ours-int8", "texts_per_second": 900, "cores": 2}]}

    def of(arms: dict[str, object]) -> Costs:
        return costs_of({**figures, "compare": {"million, short": arms}}, restore, embed)

    together = of(arms)
    assert (together.prepare_us, together.loop_us, together.bytes_out) == (30, 60, 150)
    assert (together.checkpoint_users, together.cpu_texts) == (2000, 450)
    by_process = {"main": 40, "child 0": 35}
    apart = of({**arms, "worker, 1 preparing": {"cpu_us_by_process": by_process}})
    assert (apart.prepare_us, apart.loop_us) == (35, 40)


def test_what_is_computed_is_marked() -> None:
    cells = capacity.of_rates(COSTS, Assumed()).splitlines()[2].strip("| ").split(" | ")
    assert cells[0] == "10,000"
    assert all(cell.endswith("°") for cell in cells[1:])


def test_the_page_in_the_repository_is_what_the_script_renders(tmp_path: Path) -> None:
    page = tmp_path / "capacity.md"
    page.write_text(capacity.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    for name in capacity.parts_of(COSTS, Assumed()):
        page.write_text(render(page.read_text(encoding="utf-8"), name, ""), encoding="utf-8")
    capacity.render_page(page=page)
    assert page.read_text(encoding="utf-8") == capacity.PAGE.read_text(encoding="utf-8")
