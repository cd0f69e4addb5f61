"""The suite can fail: with a defect in the workers, the scenario that is there for it turns red."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.tryout.broker import EmbeddedKafka
from tests.faults.defects import DEFECTS
from tests.faults.run import run_scenario
from tests.faults.scenarios import SCENARIOS

# Defect: the scenario that must turn red, its trials, and what must be seen in the verdict (one of
# them: a zombie's late commit moves offsets back, which alone counts as differing, and overwrites
# state; whether events count twice or changes are missing depends on which users it held).
RED = {
    "offsets_outside_the_transaction": ("kill", 9, {"lost"}),
    "state_merged_before_the_commit": ("refused", 4, {"doubled"}),
    "cached_group_metadata": ("zombie-late", 2, {"lost", "doubled", "broken", "differing"}),
    "restore_to_the_last_stable_offset": ("open-transaction", 1, {"broken"}),
    "answers_taken_for_aborts": ("lost-answer", 4, {"doubled"}),
}
# A defect does harm where the fault meets a certain moment, which a busy machine may miss.
_TRIES = 3


def test_every_defect_has_its_scenario() -> None:
    assert RED.keys() == DEFECTS.keys()


@pytest.mark.parametrize("defect", sorted(RED))
def test_a_defect_turns_its_scenario_red(
    broker: EmbeddedKafka, tmp_path: Path, defect: str
) -> None:
    name, trials, seen = RED[defect]
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    for seed in range(7, 7 + _TRIES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        row = run_scenario(broker, folder, scenario, trials=trials, seed=seed, defect=defect)
        if row.red:
            break
    assert row.red
    assert any(getattr(row.verdict, field) > 0 for field in seen), row.verdict
