"""A real Apache Kafka of one or three brokers, from pip alone, for the demo and for tests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.kafka.asking import AskCancelledError, Pace, ask
from consumer.tryout.broker.config import server_properties
from consumer.tryout.broker.errors import PortError, StartError
from consumer.tryout.broker.folder import agreed_cluster, locked
from consumer.tryout.broker.install import installed_kafka
from consumer.tryout.broker.node import Kafka, Node
from consumer.tryout.broker.processes import Guarded

logger = logging.getLogger(__name__)

SIZES = (1, 3)
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
NO_QUORUM_STOP_S = 2.0
POLL_S = 0.05
PACE = Pace(patience=0.1, longest_patience=5.0, pause=POLL_S, longest_pause=POLL_S)
PROBE_GROUP = "segmenter-broker-probe"


class EmbeddedKafka:
    """Apache Kafka in KRaft mode on this machine, as long as the `with` block lasts.

    Every node is broker and controller. The data stays in its folder and can be opened again. If
    this process dies in any way, the brokers die too. Ctrl-C does not reach them: shut the clients
    down, then leave the block.

    `stop`, `kill`, `start`, `pause` and `resume` act on one broker, by its index from 0, which is
    also its broker id: they are for tests of faults. Not for use by several threads at once.

    Parameters
    ----------
    data
        Folder for the data, made if it is not there. A folder that holds anything else is refused.
    brokers
        1, or 3 for topics with three replicas of which two must be in sync.
    port
        The first broker's port; the next ones follow it. None: the ports used before with this
        data if they are free, else free ones.
    host
        Address of this machine to listen on.
    properties
        Broker settings to add or replace, by Kafka's names.
    start_timeout
        Seconds until all brokers must be ready.
    stop_timeout
        Seconds from SIGTERM to SIGKILL.
    kafka
        The software; that in the user's cache if None. Fetching it the first time needs the network
        and is not part of `start_timeout`.

    Raises
    ------
    BrokerError
        On entering, one of its kinds: the jars cannot be had, the data folder or the port cannot
        be used, or a broker did not get ready.

    Examples
    --------
    >>> with EmbeddedKafka(Path("data")) as kafka:  # doctest: +SKIP
    ...     producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    """

    def __init__(
        self,
        data: Path,
        *,
        brokers: int = 1,
        port: int | None = None,
        host: str = "127.0.0.1",
        properties: Mapping[str, str] | None = None,
        start_timeout: float = START_TIMEOUT_S,
        stop_timeout: float = STOP_TIMEOUT_S,
        kafka: Kafka | None = None,
    ) -> None:
        if brokers not in SIZES:
            raise ValueError(f"brokers is {brokers}: choose 1, or 3 for replicated topics")
        if port is not None and not 1 <= port <= 65_536 - brokers:
            raise PortError(f"port is {port}: choose one from 1 to {65_536 - brokers}")
        self.data = data.absolute()
        self.brokers = brokers
        self.port = port
        self.host = host
        self.properties = dict(properties or {})
        self.start_timeout = start_timeout
        self.stop_timeout = stop_timeout
        self.kafka = kafka
        self.cluster_id = ""
        self.ports: tuple[int, ...] = ()
        """The brokers' ports, by index."""
        self._nodes: list[Node] = []
        self._exit = ExitStack()

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses, as Kafka clients take them."""
        return ",".join(f"{self.host}:{port}" for port in self.ports)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def open(self) -> None:
        """Start all brokers; when this returns they answer and have joined. See the class."""
        kafka = self.kafka or installed_kafka()
        begun = time.monotonic()
        with ExitStack() as stack:
            lock = stack.enter_context(locked(self.data))
            cluster = agreed_cluster(self.data, self.brokers, self.host, self.port)
            self.cluster_id, self.ports = cluster.cluster_id, cluster.ports
            guard = stack.enter_context(closing(Guarded(keep_open=[lock])))
            self._nodes = [
                Node(kafka, i, self.data / f"broker-{i}", (self.host, port), guard)
                for i, port in enumerate(cluster.ports)
            ]
            stack.callback(self._stop, self._nodes)
            for node in self._nodes:
                settings = server_properties(self.host, cluster, node.index, self.properties)
                node.prepare(cluster.cluster_id, settings)
                node.start()
            self._await_ready(self._nodes, begun + self.start_timeout)
            self._await_coordinator(begun + self.start_timeout)
            self._exit = stack.pop_all()
        logger.info(
            "Apache Kafka, %d broker(s), is ready on %s after %.1f s",
            self.brokers,
            self.bootstrap_servers,
            time.monotonic() - begun,
        )

    def close(self) -> None:
        """Stop all brokers and let go of the data folder. Does nothing when already closed."""
        self._exit.close()
        self._nodes = []

    def start(self, index: int, *, wait: bool = True) -> None:
        """Start a broker that was stopped or killed, on its port; wait until it has joined.

        `wait=False` is for starting several, without which they may have no quorum; call
        `await_ready` then.
        """
        node = self._nodes[index]
        if node.process is not None:
            raise StartError(f"broker {index} is running: stop or kill it first")
        node.start()
        if wait:
            try:
                self._await_ready([node], time.monotonic() + self.start_timeout)
            except StartError:
                node.kill()
                raise

    def stop(self, index: int) -> None:
        """Stop a broker cleanly: it hands its partitions over, then ends."""
        self._stop([self._nodes[index]])

    def kill(self, index: int) -> None:
        """End a broker at once (SIGKILL)."""
        self._nodes[index].kill()

    def pause(self, index: int) -> None:
        """Freeze a broker (SIGSTOP): it keeps its connections and answers nothing."""
        self._nodes[index].pause()

    def resume(self, index: int) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        self._nodes[index].resume()

    def pid(self, index: int) -> int | None:
        """Return the process id of a broker; None if it was stopped or killed."""
        process = self._nodes[index].process
        return None if process is None else process.pid

    def failure(self) -> str | None:
        """Return why a broker is not running any more although nobody stopped it, else None."""
        for node in self._nodes:
            if (code := node.exit_code()) is not None:
                told = f"broker {node.index} has ended by itself, with exit code {code}"
                return f"{told}. {node.log_end()}"
        return None

    def await_ready(self) -> None:
        """Wait until all brokers that were started answer, have joined and coordinate groups."""
        deadline = time.monotonic() + self.start_timeout
        self._await_ready(self._running(), deadline)
        self._await_coordinator(deadline)

    def await_in_sync(self) -> None:
        """Wait until every partition has a leader and all its replicas are in sync again.

        What a rolling restart waits for after each broker.
        """
        admin = _admin(self.bootstrap_servers)

        def in_sync(seconds: float) -> bool:
            return all(
                partition.leader in partition.isrs
                and set(partition.isrs) == set(partition.replicas)
                for topic in admin.list_topics(timeout=seconds).topics.values()
                for partition in topic.partitions.values()
            )

        self._until(in_sync, "not all replicas are in sync", time.monotonic() + self.start_timeout)

    def await_fenced(self, index: int) -> None:
        """Wait until the controllers have given up a broker that does not run.

        Until then it counts as the leader of what it led. One that is killed and back before that
        takes up where its own log ends, with records that no other broker has: see "What Kafka
        itself does not hold" in docs/reliability.md.
        """
        admin = _admin(self.bootstrap_servers)
        self._until(
            lambda seconds: index not in admin.list_topics(timeout=seconds).brokers,
            f"broker {index} is not given up",
            time.monotonic() + self.start_timeout,
        )

    def _running(self) -> list[Node]:
        return [node for node in self._nodes if node.process is not None and not node.paused]

    def _stop(self, nodes: Sequence[Node]) -> None:
        """Ask these to stop, all at once, and kill what has not ended in time.

        Without most of the controllers a broker can neither hand over nor sign off: it would wait
        5 s, or 5 minutes, for an answer that cannot come. Its data is safe then: what is written
        is with the operating system, and the next start checks the end of every log.
        """
        for node in nodes:
            node.ask_to_stop()
        deadline = time.monotonic() + self.stop_timeout
        quorum = True
        while any(node.alive() for node in nodes):
            if quorum and 2 * sum(node.alive() for node in self._nodes) <= self.brokers:
                quorum = False
                deadline = min(deadline, time.monotonic() + NO_QUORUM_STOP_S)
            if time.monotonic() > deadline:
                if quorum:
                    logger.warning("not stopped in %.0f s: killing the rest", self.stop_timeout)
                break
            time.sleep(POLL_S)
        for node in nodes:
            node.kill()

    def _await_ready(self, nodes: list[Node], deadline: float) -> None:
        """Wait until each of these answers and knows all that are running."""
        expected = {node.index for node in self._running()}
        for node in nodes:
            self._until(node.listens, f"broker {node.index} does not listen", deadline)
            admin = _admin("{}:{}".format(*node.address))

            def joined(seconds: float, admin: AdminClient = admin) -> bool:
                return expected <= admin.list_topics(timeout=seconds).brokers.keys()

            self._until(joined, f"broker {node.index} does not know all brokers", deadline)

    def _await_coordinator(self, deadline: float) -> None:
        """Wait until groups can be formed.

        The first request for a coordinator makes the topic of the offsets. Clients that ask
        meanwhile wait seconds before they ask again: with this the first group forms at once.
        A consumer asks, since the admin client's requests to a coordinator that is not there yet
        can crash the process (librdkafka issues 4605 and 5040); a new one each time, since each
        asks only once a second.
        """
        config = {"bootstrap.servers": self.bootstrap_servers, "group.id": PROBE_GROUP}

        def coordinates(seconds: float) -> bool:
            with closing(Consumer({**config, "log_level": 0})) as consumer:
                consumer.committed([TopicPartition(PROBE_GROUP, 0)], timeout=seconds)
            return True

        self._until(coordinates, "no broker coordinates groups", deadline)

    def _until(self, holds: Callable[[float], bool], lacking: str, deadline: float) -> None:
        """Ask until something holds, as long as no broker ends by itself."""
        try:
            if ask(
                holds,
                lacking,
                seconds=deadline - time.monotonic(),
                passing=lambda _: True,  # nobody answers yet
                enough=bool,
                cancelled=lambda: self.failure() is not None,
                pace=PACE,
            ):
                return
        except AskCancelledError:
            raise StartError(self.failure()) from None
        except KafkaException:
            pass
        ends = "\n".join(node.log_end() for node in self._running())
        raise StartError(f"{lacking}, after {self.start_timeout:.0f} s. {ends}")


def _admin(servers: str) -> AdminClient:
    # Without a word about the connections that fail until the brokers are up.
    return AdminClient({"bootstrap.servers": servers, "log_level": 0})
