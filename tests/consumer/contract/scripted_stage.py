"""A stage for tests of what drives one: it computes next to nothing and notes what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from consumer.contract.records import Output, Record

TOPIC = "user-events"


def name_of(record: Record) -> str:
    place = f"{record.partition}@{record.offset}"
    return place if record.topic == TOPIC else f"{record.topic}/{place}"


class ScriptedStage:
    """Writes one output a record, named after it; notes what it is told."""

    inputs: tuple[str, ...] = (TOPIC,)

    def __init__(self) -> None:
        self.restore_after_abort = False
        self.fixed_partitions = True
        self.prepare_error: Exception | None = None
        self.calls: list[str] = []
        self.prepare_gate = threading.Event()
        self.prepare_gate.set()
        self.revoke_error: Exception | None = None
        self.own_work: list[list[Output]] = []
        self.busy: Callable[[str], None] = lambda _: None
        """Called with "batch" or "piece" while the stage works on one."""

    def restoration(self, partition: int) -> Any:
        raise AssertionError("the stand-in of the restorer makes none")

    def prepare(self, records: Sequence[Record]) -> list[Record]:
        assert self.prepare_gate.wait(30)
        if self.prepare_error is not None:
            raise self.prepare_error
        return list(records)

    def assigned(self, partition: int, restoration: object) -> None:
        self.calls.append(f"assigned {partition}")

    def revoked(self, partition: int) -> None:
        self.calls.append(f"revoked {partition}")
        if self.revoke_error is not None:
            raise self.revoke_error

    def apply(self, prepared: list[Record], partitions: frozenset[int]) -> list[Output]:
        self.busy("batch")
        return [
            Output("changes", name_of(record).encode(), b"{}")
            for record in prepared
            if record.partition in partitions
        ]

    def maintain(self, *, idle: bool) -> Sequence[Output] | None:
        if not self.own_work:
            return None
        self.busy("piece")
        return self.own_work.pop(0)

    def committed(self) -> None:
        self.calls.append("committed")

    def aborted(self) -> None:
        self.calls.append("aborted")
