"""One commit, and what follows from its outcome.

==========  =====================================================================================
committed   What the stage computed becomes its state, and positions move on
aborted     It is dropped. Every partition is read again from its last commit; a stage that an
            abort spoils has its state read back
unknown     As aborted, and the producer is replaced: its start settles what happened, and the
            state that is read back tells
==========  =====================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consumer.contract.records import Output
from consumer.engine.crash_points import reached
from consumer.engine.ownership import Ownership
from consumer.engine.partitions import Place
from consumer.engine.parts import Parts
from consumer.engine.transactions import FatalKafkaError, Outcome

logger = logging.getLogger(__name__)

# A batch that is aborted this often in a row will not succeed by being tried again.
_MAX_ABORTS = 20


class Commits:
    """Commits what a stage computes together with the offsets of its input.

    Parameters
    ----------
    parts
        Of the loop.
    ownership
        What goes back after an abort.
    stopping
        Whether the process ends: nothing is begun anew then.
    """

    def __init__(
        self, parts: Parts[Any], ownership: Ownership, stopping: Callable[[], bool]
    ) -> None:
        self._parts = parts
        self._ownership = ownership
        self._stopping = stopping
        self._aborts = 0

    def commit(
        self,
        outputs: Sequence[Output],
        partitions: Sequence[int],
        advanced: Mapping[Place, int] | None = None,
        within: float | None = None,
    ) -> bool:
        """Write outputs with the offsets of these partitions; tell whether that is committed.

        Parameters
        ----------
        outputs
            What the stage computed.
        partitions
            Never empty. The offset of each goes along, as it stands or as it is advanced.
        advanced
            New positions.
        within
            Seconds for each call, where time is short.

        Raises
        ------
        FatalKafkaError
            If no retry helps, or too many have not helped.
        SuspendedError
            If the process stood still.
        """
        parts, advanced = self._parts, advanced or {}
        # Not by what a process decided that others have replaced meanwhile.
        parts.pulse.check()
        offsets = parts.assignment.offsets(partitions, advanced)
        told, member = self._ownership.telling(outputs), parts.assignment.consumer
        began = parts.timer.monotonic()
        outcome = parts.transactions.write(told, offsets, member, within)
        took = parts.timer.monotonic() - began
        parts.metrics.commit_seconds.observe(took)
        parts.metrics.transactions.labels(outcome.value).inc()
        if outcome is not Outcome.COMMITTED:
            self._go_back(outcome)
            return False
        self._aborts = 0
        if advanced:
            parts.batches.committed(took)
        parts.stage.committed()
        parts.assignment.advance(advanced.items())
        parts.assignment.settle(partitions)
        if parts.checkpointer is not None:
            parts.checkpointer.committed(parts.transactions.written)
        reached("merged")
        return True

    def _go_back(self, outcome: Outcome) -> None:
        self._parts.stage.aborted()
        self._parts.batches.drop()
        if self._stopping():
            logger.info("the batch is not committed: it will be read again")
            return
        self._aborts += 1
        if self._aborts >= _MAX_ABORTS:
            raise FatalKafkaError(f"{self._aborts} transactions in a row were aborted: giving up")
        if outcome is Outcome.UNKNOWN:
            self._parts.transactions.reopen()
        if outcome is Outcome.UNKNOWN or self._parts.stage.restore_after_abort:
            self._ownership.restore_again()
        else:
            self._parts.timer.sleep(min(0.05 * 2**self._aborts, 1.0))
            self._ownership.rewind()
