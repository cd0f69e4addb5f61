"""A short selection of `make faults`, on every test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.tryout.broker import EmbeddedKafka
from tests.faults import lab
from tests.faults.run import run_scenario, table
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.timeout(900)  # each is minutes on a busy machine
SEED = 20_240_229
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def assert_survived(
    kafka: EmbeddedKafka, folder: Path, name: str, protocol: str = "classic", trials: int = 0
) -> None:
    scenario = BY_NAME[name]
    row = run_scenario(
        kafka,
        folder,
        scenario,
        trials=trials or scenario.few,
        seed=SEED,
        protocol=protocol,
    )
    assert not row.red, f"{row.failure}\n{table([row])}\n" + "\n".join(row.verdict.details)
    assert row.verdict.changes > 0
    assert row.trials > 0


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("kill", "classic"),
        ("kill-live", "classic"),
        ("rollback", "classic"),
        ("switch", "classic"),
        ("kill-intake", "classic"),
        ("kill-preparing", "classic"),
        ("kill-recommender", "classic"),
        ("kill-rules", "classic"),
        ("kill-redrive", "classic"),
        ("kill-reset", "classic"),
        ("zombie", "classic"),
        ("zombie-unnamed", "consumer"),
        ("lost-answer", "classic"),
        ("rolling", "classic"),
        ("upgrade", "classic"),
        ("kill-revoke", "classic"),
        ("scale", "classic"),
        ("other-embedding", "classic"),
        ("raised-partitions", "classic"),
        ("retention", "classic"),
        ("made-anew", "classic"),
    ],
)
def test_a_group_survives(broker: EmbeddedKafka, tmp_path: Path, name: str, protocol: str) -> None:
    assert_survived(broker, tmp_path, name, protocol)


@pytest.fixture(scope="module")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(tmp_path_factory.mktemp("three"), brokers=3) as kafka:
        yield kafka


@pytest.mark.parametrize("name", ["broker-kill", "broker-stop"])
def test_a_group_survives_its_brokers(
    three_brokers: EmbeddedKafka, tmp_path: Path, name: str
) -> None:
    assert_survived(three_brokers, tmp_path, name)
    three_brokers.await_in_sync()


@pytest.mark.lab("wire")
def test_a_group_survives_a_cut_network(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "kafka", host=lab.HUB) as kafka:
        assert_survived(kafka, tmp_path / "run", "cut-all")


@pytest.mark.lab("disk")
def test_a_group_survives_a_full_disk(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "kafka", host=lab.HUB) as kafka:
        assert_survived(kafka, tmp_path / "run", "disk-full")
