"""The data folder: whose it is, and what it remembers of its cluster."""

from __future__ import annotations

import base64
import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from consumer.tryout.broker.config import Cluster, free_ports, taken
from consumer.tryout.broker.errors import DataFolderError, PortError

# How long the watchdog of a process that was killed may take to end its brokers.
LOCK_TIMEOUT_S = 3.0
POLL_S = 0.05


STATE = TypeAdapter(Cluster)


@contextmanager
def locked(data: Path) -> Iterator[int]:
    """Hold a data folder, made if it is not there, against other processes; yield the lock's file.

    Raises
    ------
    DataFolderError
        If it is in use, cannot be written, or holds something else than a cluster.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        strangers = {entry.name for entry in data.iterdir()} - {"lock", "cluster.new"}
        if strangers and "cluster.json" not in strangers:
            raise DataFolderError(
                f"{data} holds {sorted(strangers)[0]} and no cluster: name an empty or new folder"
            )
        file = (data / "lock").open("ab")
    except OSError as error:
        raise DataFolderError(
            f"{data} cannot be used as a data folder ({error.strerror}): name another one"
        ) from error
    with file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DataFolderError(
                        f"{data} is in use by another broker: stop it, or name another folder"
                    ) from None
                time.sleep(POLL_S)
        yield file.fileno()


def agreed_cluster(data: Path, brokers: int, host: str, port: int | None) -> Cluster:
    """Read what the folder remembers, agree on ports with it, and write it down again.

    Ports are those asked for, else the ones used before if they are free, else free ones.

    Raises
    ------
    DataFolderError
        If the folder holds a cluster of another size, or its `cluster.json` is damaged.
    PortError
        If a port that was asked for is in use.
    """
    file = data / "cluster.json"
    known = _known(file, brokers)
    ports = _ports(known, brokers, host, port)
    controller_ports = known.controller_ports if known else ()
    if not controller_ports or {*controller_ports} & {*ports} or taken(host, controller_ports):
        controller_ports = free_ports(host, brokers, avoid=ports)
    random = base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()  # as Kafka writes ids
    cluster = Cluster(known.cluster_id if known else random, ports, controller_ports)
    scratch = data / "cluster.new"
    scratch.write_bytes(STATE.dump_json(cluster, indent=2))
    scratch.replace(file)
    return cluster


def _known(file: Path, brokers: int) -> Cluster | None:
    if not file.exists():
        return None
    try:
        known = STATE.validate_json(file.read_bytes())
    except ValueError as error:
        raise DataFolderError(
            f"{file} does not describe a cluster: restore it, or name another folder"
        ) from error
    if len(known.ports) != brokers:
        raise DataFolderError(
            f"{file.parent} holds a cluster of {len(known.ports)} broker(s), not {brokers}: "
            "ask for that many, or name another folder"
        )
    return known


def _ports(known: Cluster | None, brokers: int, host: str, port: int | None) -> tuple[int, ...]:
    if port is not None:
        wanted = tuple(range(port, port + brokers))
        if busy := taken(host, wanted):
            raise PortError(
                f"port {busy[0]} on {host} is in use: end what listens there, "
                "or choose another port"
            )
        return wanted
    if known and not taken(host, known.ports):
        return known.ports
    return free_ports(host, brokers)
