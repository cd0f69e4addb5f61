"""One run: topics of its own, a load, workers and a trainer under a supervisor, and the verdict."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.kafka.topics import create_topics
from consumer.settings import Settings
from consumer.tryout.broker import EmbeddedKafka
from consumer.verify import Follower
from tests.faults.load import HALF_LIFE_DAYS, POISONS, Load, Pair, fixed_model
from tests.faults.oracle import Verdict, judge
from tests.faults.processes import Fault, Member, Spec, Supervisor, write_model
from tests.faults.tail import Tail
from tests.faults.watch import SOURCE_PARTITIONS, Watch
from tests.stubs import HashingEmbedder

PARTITIONS = 6
SESSION_SECONDS = 4.0
TRANSACTION_SECONDS = 3.0
_GIVE_UP_SECONDS = 120.0


class StuckError(AssertionError):
    """The workers do not come to the end of what was produced."""


def expect(condition: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless a condition holds."""
    if not condition:
        raise AssertionError(sentence)


@dataclass(frozen=True)
class Options:
    """What a run is made of."""

    protocol: str = "classic"
    workers: int = 3
    named: bool = True
    """Whether workers have instance ids: static membership and transactional ids that last."""
    intakes: int = 0
    """Processes of `segmenter intake`; with any, the load goes to a foreign input."""
    recommenders: int = 0
    """Processes of `segmenter recommender`."""
    rulers: int = 0
    """Processes of `segmenter rules run`."""
    trainer: bool = True
    live_model: bool = False
    """Workers follow the trainer; otherwise they keep a fixed model, which the replay has too."""
    judged_by_replay: bool = True
    """Whether changes and final states are those of a replay, where the model is fixed."""
    followed: bool = False
    """Whether `segmenter verify --follow` looks on."""
    rate: float = 150.0
    users: int = 60
    poisons: tuple[int, ...] = POISONS
    """How records of the load are spoilt."""
    former: bool = False
    """Whether processes of the former build take part, whose settings name fewer topics."""
    defect: str | None = None
    sections: Mapping[str, dict[str, Any]] = field(default_factory=dict)


class Rig:
    """A run on a cluster that is there already.

    Parameters
    ----------
    kafka
        The cluster.
    folder
        For logs and files of this run.
    seed
        Of everything that is drawn.
    options
        What the run is made of.
    """

    def __init__(self, kafka: EmbeddedKafka, folder: Path, seed: int, options: Options) -> None:
        self.kafka = kafka
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.draw = random.Random(seed)
        self.notes: list[str] = []
        self.namespace: Path | None = None
        """Where w0 runs, when it is to run behind a wire."""
        self.checkpoints: Path | None = None
        """Where w0's checkpoints are, when they are not beside the others'."""
        self.build: Path | None = None
        """A checkout of another build that processes are started from."""
        self.settings = self._make_settings()
        create_topics(self.settings)
        if (raw := self.settings.topics.raw_events) is not None:
            admin = AdminClient({**self.settings.kafka.client(), "log_level": 0})
            admin.create_topics([NewTopic(raw, SOURCE_PARTITIONS)])[raw].result(30)
        embedder = HashingEmbedder()
        self.model = fixed_model(embedder)
        self.model_file = write_model(folder / "model.json", self.model.to_record())
        self.load = Load(self.settings, seed, options.users, options.rate, options.poisons)
        self.gone: set[int] = set()
        """Records that nobody can have read, by their place in the load's `pairs`."""
        self.redriven: list[Pair] = []
        """Records of the input that a redrive has brought back: the same as refused before."""
        self._exit = ExitStack()
        self._tail: Tail | None = None
        if options.intakes:
            # What is measured is intake; that the workers follow is waited for.
            events = Tail(self.settings, self.settings.topics.events, PARTITIONS)
            self._exit.callback(events.close)
            self._workers_watch = Watch(self.settings, lambda: events.ends)
            self._exit.callback(self._workers_watch.close)
            self._tail = events
        self.watch = Watch(self.settings, lambda: self.load.ends, intake=bool(options.intakes))
        self.load.behind = self._behind
        self.supervisor = Supervisor(lambda _name: self.watch.follow())

        self._follower = self._exit.enter_context(self._followed()) if options.followed else None

    def _behind(self) -> int:
        waiting = self.watch.behind()
        return waiting + self._workers_watch.behind() if self.options.intakes else waiting

    def _followed(self) -> Follower:
        # After a reset some dead letters are only judged when they have stood for so long.
        return Follower(self.settings, settle_seconds=15, hang_seconds=30)

    def _make_settings(self) -> Settings:
        unique = uuid.uuid4().hex[:8]
        sections = {name: dict(values) for name, values in self.options.sections.items()}
        kafka = {
            "bootstrap_servers": self.kafka.bootstrap_servers,
            "group_id": f"faults-{unique}",
            "group_protocol": self.options.protocol,
            "session_timeout_seconds": SESSION_SECONDS,
            "transaction_timeout_seconds": TRANSACTION_SECONDS,
            "properties": {"reconnect.backoff.max.ms": "500"},
            **sections.pop("kafka", {}),
        }
        names = ("events", "dead_letters", "changes", "memberships", "profiles")
        topics = {name: f"{name.replace('_', '-')}-{unique}" for name in (*names, "samples")}
        topics |= {name: f"{name}-{unique}" for name in ("models", "lifecycle")}
        topics["drift_reference"] = f"drift-reference-{unique}"
        if not self.options.former:
            others = (
                *("segments", "model_versions", "model_control", "next_profiles", "item_events"),
                *("item_profiles", "recommendation_parts", "segment_recommendations"),
                *("user_recommendations", "rule_changes", "rule_memberships", "rule_states"),
            )
            topics |= {name: f"{name.replace('_', '-')}-{unique}" for name in others}
        if self.options.intakes:
            topics["raw_events"] = f"raw-{unique}"
        return Settings(
            **{
                "kafka": kafka,
                "topics": {**topics, "partitions": PARTITIONS},
                "batch": {"max_records": 50, "max_wait_seconds": 0.1, **sections.pop("batch", {})},
                "profile": {"half_life_days": HALF_LIFE_DAYS},
                "assignment": {"dwell_events": 1},
                "restore": {"no_progress_seconds": 20},
                "training": {"segments": 4, "warmup_users": 20, "idle_seconds": 0.5},
                **sections,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.supervisor.close()
        self.watch.close()
        self._exit.close()

    # --- processes --------------------------------------------------------------------------

    def spec(self, name: str, **changes: Any) -> Spec:
        """Describe a worker."""
        kafka: dict[str, Any] = {"instance_id": name if self.options.named else None}
        folder = self.folder / "checkpoints" / name
        if name == "w0" and self.checkpoints is not None:
            folder = self.checkpoints
        restore = {"checkpoint_dir": folder, "checkpoint_seconds": 1}
        settings = self.settings.model_copy(
            update={
                "kafka": self.settings.kafka.model_copy(update=kafka),
                "restore": self.settings.restore.model_copy(update=restore),
            }
        )
        model = () if self.options.live_model else ("--model", str(self.model_file))
        fields: dict[str, Any] = {
            "name": name,
            "arguments": ("worker", *model),
            "settings": settings,
            "folder": self.folder,
            "defect": self.options.defect,
            "build": self.build,
            "namespace": self.namespace if name == "w0" else None,
        }
        return Spec(**{**fields, **changes})

    def start_worker(self, name: str, **changes: Any) -> Member:
        """Start a worker."""
        return self.supervisor.start(self.spec(name, **changes))

    def start_trainer(self) -> Member:
        """Start the trainer."""
        return self.supervisor.start(self.spec("t0", arguments=("trainer",), defect=None))

    def start_intake(self, name: str) -> Member:
        """Start a process of intake."""
        return self.supervisor.start(self.spec(name, arguments=("intake",)))

    def spec_of_rules(self, name: str) -> Spec:
        """Describe a process of rules."""
        return self.spec(name, arguments=("rules", "run"))

    def start(self, next_fault: Callable[[str], Fault | None] = lambda _name: None) -> None:
        """Start all workers and the trainer, and wait until the load is worked off."""
        if self.options.trainer:
            self.start_trainer()
        for number in range(self.options.workers):
            self.start_worker(f"w{number}")
        for number in range(self.options.intakes):
            self.start_intake(f"i{number}")
        for number in range(self.options.recommenders):
            name = f"r{number}"
            self.supervisor.start(self.spec(name, arguments=("recommender",)))
        for number in range(self.options.rulers):
            self.supervisor.start(self.spec_of_rules(f"p{number}"))
        self.recover(measure=False)
        self.supervisor.next_fault = next_fault
        self.watch.recoveries.clear()
        self.watch.mark()

    @property
    def workers(self) -> list[Member]:
        """The workers that are to run."""
        return self._named("w")

    @property
    def intakes(self) -> list[Member]:
        """The processes of intake that are to run."""
        return self._named("i")

    @property
    def recommenders(self) -> list[Member]:
        """The recommenders that are to run."""
        return self._named("r")

    @property
    def rulers(self) -> list[Member]:
        """The processes of rules that are to run."""
        return self._named("p")

    def _named(self, letter: str) -> list[Member]:
        members = self.supervisor.members.items()
        return [member for name, member in members if name.startswith(letter)]

    def coordinator_port(self) -> int:
        """Give the port of the broker that coordinates the group, by Kafka's own rule."""
        topic, number = "__consumer_offsets", 0
        for char in self.settings.kafka.group_id:
            number = (31 * number + ord(char)) & 0xFFFFFFFF  # Java's String.hashCode
        admin = AdminClient({**self.settings.kafka.client(), "log_level": 0})
        partitions = admin.list_topics(topic, timeout=30).topics[topic].partitions
        return self.kafka.ports[partitions[(number & 0x7FFFFFFF) % len(partitions)].leader]

    def both_sides(self) -> tuple[str, str]:
        """Name the input and its changelog."""
        return self.settings.topics.events, self.settings.topics.profiles

    # --- waiting ----------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for a condition.

        Raises
        ------
        StuckError
            If it does not come true in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise StuckError(f"{what}: not after {seconds:.0f} s")
            time.sleep(0.05)

    def recover(self, *, measure: bool = True, seconds: float = _GIVE_UP_SECONDS) -> float:
        """Wait until all that is produced by now is committed; give the seconds.

        With `measure` they count as a time to recover. Where a process ended by itself, that is
        measured anyway, from the moment of its end.
        """
        begun, ends = time.monotonic(), dict(self.load.ends)
        while not ends and time.monotonic() - begun < seconds:
            time.sleep(0.05)
            ends = dict(self.load.ends)
        self.until(lambda: self.watch.caught_up(ends), "the backlog is not worked off", seconds)
        if (tail := self._tail) is not None:
            stable = tail.stable_ends()
            self.until(lambda: tail.has_read(stable), "what came of intake cannot be read", seconds)
            brought = dict(tail.ends)
            self.until(
                lambda: self._workers_watch.caught_up(brought),
                "what came of intake is not worked off",
                seconds,
            )
        took = time.monotonic() - begun
        if measure:
            self.watch.recoveries.append(took)
        return took

    def pause(self, least: float, most: float) -> None:
        """Let the run go on for a random while (seconds)."""
        time.sleep(self.draw.uniform(least, most))

    # --- the end ----------------------------------------------------------------------------

    def finish(self) -> Verdict:
        """Stop the load, let the workers come to the end, stop them, and judge."""
        self.supervisor.next_fault = lambda _name: None
        self.load.stop()
        stuck: str | None = None
        try:
            self.recover(measure=False)
        except StuckError as error:
            stuck = str(error)
        codes = self.supervisor.close()
        # What a process left open without a name ends by its timeout.
        time.sleep(0 if self.options.named else TRANSACTION_SECONDS + 1)
        pairs = [pair for n, pair in enumerate(self.load.pairs) if n not in self.gone]
        pairs += self.redriven
        by_replay = self.options.judged_by_replay and not self.options.live_model
        verdict = judge(self.settings, pairs, self.model if by_replay else None)
        if stuck is not None:
            verdict.lost += 1
            verdict.note(stuck)
        for name, code in codes.items():
            # A process that is told to stop while it is still starting has no handler for it yet.
            if code not in (0, -signal.SIGTERM):
                verdict.note(f"{name} ended with exit code {code}")
                verdict.differing += 1
        if self._follower is not None:
            if not self._follower.wait_settled(60):
                verdict.differing += 1
                verdict.note("verify --follow does not come to the end")
            for violation in self._follower.violations:
                verdict.differing += 1
                verdict.note(f"verify --follow: {violation.kind}: {violation.detail}")
            self.notes.append(f"verify --follow read {self._follower.report().changes:,} changes")
        for sentence in self.watch.went_back:
            verdict.differing += 1
            verdict.note(f"committed offset of {sentence}")
        return verdict

    def longest_stall(self) -> float:
        """Seconds of the longest stall of a partition."""
        return max(self.watch.stalls().values(), default=0.0)


def median(values: Sequence[float]) -> float:
    """Give the median, 0 of nothing."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0
