"""An operator rolls the segment model back under load, and processes are killed meanwhile."""

from __future__ import annotations

import signal
import time

from consumer.kafka.cluster import read_topic
from consumer.versions.order import UnansweredError, give_order
from consumer.versions.read import Found, find
from schemas.model_control import OrderAction, OrderAnswer
from schemas.model_versions import ModelVersionRecord
from tests.faults.rig import Rig, StuckError, expect

_ANSWER_SECONDS = 60.0


def rolled_back(rig: Rig, trials: int) -> int:
    """Roll back to one version after the other; the trainer is killed at each order, or a worker.

    Each order is followed once, whichever trainer comes to it; what was frozen stays so over the
    kill, and no id and no version is given twice (`segmenter verify` looks at that).
    """
    rig.start()
    rig.until(
        lambda: len(find(rig.settings).kept.numbers) > 1, "a second version of the segments", 90
    )
    for number in range(trials):
        before = _frozen_first(rig)
        current = before.current
        expect(current is not None, "there is no segment model")
        if current is None:
            return number
        choice = [n for n in before.kept.numbers if n not in (current.version, current.rollback_of)]
        wanted = rig.draw.choice(choice)
        known = {answer.id for answer in before.control.state.answers}
        # Nobody waits: the trainer is killed before the order, amid it, or behind it.
        order = (OrderAction.ROLLBACK, wanted, current.version)
        victim = rig.supervisor.members[rig.draw.choice(("t0", "t0", "w0"))]
        if rig.draw.random() < 0.5:
            victim.signal(signal.SIGKILL)
            _order(rig, *order)
        else:
            _order(rig, *order)
            time.sleep(rig.draw.uniform(0.0, 0.3))
            victim.signal(signal.SIGKILL)
        rig.recover(measure=False)
        answer = _answer(rig, known)
        expect(answer.done, f"the trainer refuses: {answer.detail}")
        expect(answer.model_version == current.version + 1, f"it says {answer.detail}")
        after = find(rig.settings)
        expect(after.control.frozen, "a rollback does not freeze")
        expect(
            after.current is not None and after.current.version == current.version + 1,
            "another version is in force than the one that the trainer has answered",
        )
        made = _made_by(rig, answer.id)
        expect(made == [current.version + 1], f"one order has made the versions {made}")
    rig.notes.append(f"{trials} rollbacks, each answered once")
    return trials


def _frozen_first(rig: Rig) -> Found:
    """Freeze the model, so that the version in force stays the one that is looked at."""
    found = find(rig.settings)
    if not found.control.frozen:
        known = {answer.id for answer in found.control.state.answers}
        _order(rig, OrderAction.FREEZE)
        expect(_answer(rig, known).done, "it cannot be frozen")
    return find(rig.settings)


def _order(
    rig: Rig, action: OrderAction, version: int | None = None, seen: int | None = None
) -> None:
    try:
        give_order(
            rig.settings,
            action,
            version=version,
            seen=seen,
            seconds=0.0,
            tell=lambda _sentence: None,
        )
    except UnansweredError:
        return


def _answer(rig: Rig, known: set[str]) -> OrderAnswer:
    """Wait for an answer that was not there."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        new = [each for each in find(rig.settings).control.state.answers if each.id not in known]
        if new:
            expect(len(new) == 1, f"one order has {len(new)} answers")
            return new[0]
        time.sleep(0.2)
    raise StuckError(f"no trainer has answered within {_ANSWER_SECONDS:.0f} s")


def _made_by(rig: Rig, order: str) -> list[int]:
    """Give the versions that were published for an order, by all that the log holds."""
    records = read_topic(rig.settings, rig.settings.topics.model_versions)
    found = [ModelVersionRecord.model_validate_json(each.value) for each in records if each.value]
    return [each.model.version for each in found if each.order == order]
