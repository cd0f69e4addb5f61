"""`segmenter migrate --running`: another embedding model for a group that goes on working.

The group's workers hold both models by then (`embedding.former`), and each partition goes over to
the next one by itself, in a transaction of its own worker's
(`consumer.stages.segmentation.switching`). What is left for this command:

1. Build: read the input again, embed it with the next model, and keep the profiles on a topic
   beside the changelog (`consumer.state.next_profiles`), partition by partition, again and again
   until that is nearly level with the group.
2. Order: give the trainer the segments that are in force, carried over to where their members are
   under the next model. It publishes them as the next version, or refuses where another version has
   come meanwhile; then they are carried over anew.
3. Wait until every partition is of the next model, and every user's record.
4. Clear: remove what was built, and have the trainer learn again.

Nobody joins the group under which progress is kept. The transactional id is the fence: a second
command ends the first one, and whatever that has begun. The order goes out in such a transaction
too, so one that was fenced gives none. What is found when it starts says where it goes on, so it
may be killed at any moment:

| the command dies | what there is | the next run |
|---|---|---|
| while it builds | profiles, and how far they are | goes on from there |
| before the order is committed | the same | builds what has come since, and gives it |
| after it | an order that waits, or is answered | waits for the answer |
| while partitions go over | segments of the next model | waits for them |
| while it clears | some records left | removes the rest |

Until the order there is nothing but the topic beside the changelog, which `--abort` empties. Behind
it the way leads forward: back to the former model is such a change, too.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from confluent_kafka import Consumer, TopicPartition

from consumer.contract.records import Output
from consumer.engine.transactions import Outcome, Transactions
from consumer.kafka.clients import made, producer_config, reader_config
from consumer.kafka.cluster import Cluster, read_topic
from consumer.kafka.groups import next_profiles_group
from consumer.kafka.topic_limits import fit_topics, message_limits
from consumer.kafka.topics import check_topics
from consumer.migrate.changelog import Former
from consumer.migrate.errors import MigrationError
from consumer.migrate.feed import TrainerFeed
from consumer.migrate.recompute import NoVectors, Refused, chunks
from consumer.migrate.report import missing_history
from consumer.migrate.survey import PartitionPlan, Plan, Survey, differences
from consumer.migrate.totals import Totals
from consumer.report.wording import plural, ranges
from consumer.settings import Settings
from consumer.stages.segmentation.profile_writer import ProfileWriter
from consumer.stages.training.control import ModelControl
from consumer.state.next_profiles import Growing, NextProfiles, Progress
from consumer.versions.order import give_order, operator
from consumer.versions.read import Found, find
from models.embedding.runner_types import Embedder
from models.profiles.table import ProfileTable
from models.segments.model import SegmentModel
from schemas.dead_letters import read_dead_letter_headers
from schemas.keys import decode_key
from schemas.model_control import ModelOrder, OrderAction, OrderAnswer

_START_SECONDS = 60.0
_ATTEMPTS = 5
# Users written in a transaction, at most about so many.
_USERS_AT_ONCE = 2_000
# What was built is kept in memory while it is of so many users at most, and read again otherwise.
_USERS_KEPT = 500_000
# A pass over all partitions that takes no longer has brought them level with the group.
_LEVEL_SECONDS = 10.0
# From one look to the next: doubled each time, as most answers come at once and some take minutes.
_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.1, 2.0
_TELL_SECONDS = 60.0
# As often versions may come between carrying segments over and giving the order.
_MOST_ORDERS = 20

Say = Callable[[str], object]
Step = Callable[[int], None]


class RunningMigration:
    """One run of the command.

    Parameters
    ----------
    settings
        Of the workers that hold both models.
    embedder
        The next model.
    accept_missing_history
        Go on where the input does not give all the events that a profile has counted.
    say
        Gets lines for the user.
    step
        Told how many records were embedded.
    make
        Makes the producer.
    answer_seconds
        How long the trainer has for its answer.
    """

    def __init__(
        self,
        settings: Settings,
        embedder: Embedder,
        *,
        accept_missing_history: bool = False,
        say: Say = lambda _line: None,
        step: Step = lambda _count: None,
        make: Callable[..., Transactions] = Transactions,
        answer_seconds: float = 120.0,
    ) -> None:
        self._settings = settings
        self._topics = settings.topics
        self._embedder = embedder
        self._accept = accept_missing_history
        self._say, self._step = say, step
        self._make = make
        self._answer_seconds = answer_seconds
        self._cluster = Cluster(settings.kafka)
        self._built = NextProfiles(settings, embedder, self._cluster)
        self._survey = Survey(settings, embedder)
        self._group = next_profiles_group(settings.kafka)
        self._writer = ProfileWriter(
            settings.topics.model_copy(update={"profiles": settings.topics.next_profiles}),
            embedder.identity,
        )
        self._partitions = 0
        self._producer: Transactions
        self._client: Consumer
        # How far dead letters were read, by partition, and what they are of.
        self._letters: dict[int, int] = {}
        self._refused_known: Refused = {}
        # Of the partitions looked at last, oldest first.
        self._kept: OrderedDict[int, tuple[Growing, Progress]] = OrderedDict()

    # --- what is asked for ------------------------------------------------------------------

    def run(self) -> None:
        """Build, order, wait and clear, from wherever an earlier run has left it.

        Raises
        ------
        MigrationError
            If it is refused, or somebody else is at work.
        TopicError, StageError, ReadStalledError
            If the topics do not allow it.
        FatalKafkaError, KafkaException
            If Kafka does not let it. Running it again is safe.
        """
        self._check_settings()
        with self._writing():
            found = self._found()
            if not self._is_over(found):
                if found.current is None:
                    raise MigrationError(
                        "there are no segments yet that could be carried over: wait for the first "
                        "version, or begin anew with the other model"
                    )
                waiting = self._waiting(found)
                if waiting is not None:
                    self._say(f"the order {waiting} waits for the trainer\n")
                if waiting is None or not self._answer_to(waiting).done:
                    self._build_and_order()
            self._wait_for_partitions()
            self._clear()
        self._unfreeze()
        self._say(
            "done: all partitions are of the next embedding model; restart the workers without "
            "embedding.former when it suits you\n"
        )

    def abort(self) -> None:
        """Remove what was built, where the trainer was not told yet; raises as `run`."""
        self._check_settings()
        with self._writing():
            found = self._found()
            if self._is_over(found) or self._waiting(found) is not None:
                raise MigrationError(
                    "the trainer has published segments of the next embedding model, or has the "
                    "order to: workers go over to it, and there is nothing to take back; let it "
                    "come to its end, and change the group back the same way if that is wanted"
                )
            removed = self._clear()
        self._unfreeze()
        self._say(
            f"{plural(removed, 'profile')} of the next embedding model removed; restart the "
            "workers with the former one as embedding.model, and without embedding.former\n"
        )

    def _check_settings(self) -> None:
        if self._settings.embedding.former.model is None:
            raise MigrationError(
                "embedding.former.model is not set: give the model that the group has there, and "
                "the next one as embedding.model, for the workers as for this command"
            )
        self._partitions = check_topics(self._settings)[self._topics.events]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have a producer, whose start ends whatever another run has begun."""
        kafka = self._settings.kafka
        limits = message_limits(
            self._settings, (self._topics.next_profiles, self._topics.model_control)
        )
        producer = self._make(
            producer_config(fit_topics(self._settings, limits).kafka, self._group),
            kafka.transaction_timeout_seconds,
            _START_SECONDS,
            members_only=False,
        )
        # Only to name the group with the offsets: it subscribes to nothing.
        client = made(Consumer, {**reader_config(kafka), "group.id": self._group})
        with closing(producer), closing(client):
            self._producer, self._client = producer, client
            yield

    def _found(self) -> Found:
        return find(self._settings)

    def _control(self) -> ModelControl:
        """Give what was ordered and answered, without the versions, which may be large."""
        control = ModelControl(self._settings)
        for record in read_topic(self._settings, self._topics.model_control):
            control.load(record)
        control.check()
        return control

    def _is_over(self, found: Found) -> bool:
        return found.current is not None and found.current.embedding == self._embedder.identity

    @staticmethod
    def _waiting(found: Found) -> str | None:
        """Give the order to migrate that nobody has answered."""
        orders = (given for given in found.waiting if given.order is not None)
        waiting = [
            given.id
            for given in orders
            if given.order is not None
            and given.order.action == OrderAction.MIGRATE
            and given.order.model is not None
        ]
        return waiting[0] if waiting else None

    # --- build ------------------------------------------------------------------------------

    def _build_and_order(self) -> None:
        self._refuse_missing_history()
        for _ in range(_MOST_ORDERS):
            self._build()
            self._wait_for_workers()
            self._freeze()
            # Level once more: workers take the rest themselves, while events wait.
            self._pass()
            if self._order():
                return
        raise MigrationError(
            f"{_MOST_ORDERS} times another version of the segments has come in between: freeze the "
            "model with 'segmenter models freeze', and run the command again"
        )

    def _build(self) -> None:
        self._say("building the profiles of the next embedding model beside the group\n")
        while True:
            began = time.monotonic()
            events = self._pass()
            seconds = time.monotonic() - began
            if seconds < _LEVEL_SECONDS:
                break
            self._say(f"{plural(events, 'event')} embedded in {seconds:,.0f} s\n")
        self._say("the profiles of the next model are level with the group\n")

    def _pass(self) -> int:
        """Bring each partition up to where the group stands; give the records that were read."""
        targets = {n: self._built.standing(n)[0] or 0 for n in range(self._partitions)}
        # What was refused up to there was committed with these offsets.
        refused = self._refused()
        return sum(self._grow(number, targets[number], refused) for number in targets)

    def _grow(self, number: int, target: int, refused: Refused) -> int:
        growing, known = self._growing(number)
        if growing.offset >= target:
            self._keep(growing, known)
            return 0
        first = before = growing.offset
        touched: dict[str, None] = {}
        for reached, users in growing.grow(
            self._built.input_of(growing, target), target, refused.get(number, set())
        ):
            self._step(reached - before)
            before = reached
            touched |= dict.fromkeys(users)
            if len(touched) >= _USERS_AT_ONCE:
                self._write_states(growing, known, touched)
                touched = {}
        self._write_states(growing, known, touched)
        self._keep(growing, known)
        return growing.offset - first

    def _refused(self) -> Refused:
        """Give the offsets of the input's dead letters, by partition; read on from the last time.

        They are left out: the clock and the limits of today might accept what was refused.
        """
        topic = self._topics.dead_letters
        for number in range(self._cluster.partitions(topic)):
            low, end = self._cluster.watermarks(topic, number)
            begin = self._letters.get(number, 0)
            for letter in self._cluster.read(
                topic,
                number,
                end,
                start=begin if begin > low else 0,
                no_progress_seconds=self._settings.restore.no_progress_seconds,
            ):
                try:
                    said = read_dead_letter_headers(letter.headers)
                except ValueError:
                    continue  # not one of the workers'; `verify` reports it
                if said.topic == self._topics.events:
                    self._refused_known.setdefault(said.partition, set()).add(said.offset)
            self._letters[number] = end
        return self._refused_known

    def _growing(self, number: int) -> tuple[Growing, Progress]:
        """Give what is built of a partition; nothing where nothing is."""
        if (kept := self._kept.pop(number, None)) is not None:
            return kept
        there = self._built.progress(number)
        if there is None:
            there = self._built.fresh(number)
            self._write([], number, *there)
        offset, known = there
        return self._built.read(number, offset, known), known

    def _keep(self, growing: Growing, known: Progress) -> None:
        self._kept[growing.partition] = growing, known
        while sum(len(each.table) for each, _ in self._kept.values()) > _USERS_KEPT:
            self._kept.popitem(last=False)

    def _write_states(self, growing: Growing, known: Progress, users: Mapping[str, None]) -> None:
        rows = growing.table.gather(list(users))
        outputs = self._writer.states(growing.partition, rows)
        self._write(outputs, growing.partition, growing.offset, known)

    # --- what is missing --------------------------------------------------------------------

    def _refuse_missing_history(self) -> None:
        """Count every user's events, without embedding, where nothing is built yet; and refuse.

        What is built already was found complete, or accepted, when it was begun.
        """
        if self._accept:
            return
        fresh = [n for n in range(self._partitions) if self._built.progress(n) is None]
        if not fresh:
            return
        self._say(f"counting the events of {plural(len(fresh), 'partition')}\n")
        refused = self._refused()
        plan = Plan(self._embedder.identity, [], TrainerFeed())
        for number in fresh:
            part, formers, counted = self._counted(number, refused)
            plan.partitions.append(part)
            plan.differences += differences(number, formers, counted)
        if plan.differences:
            raise MigrationError(missing_history(plan, self._topics.events))

    def _counted(
        self, number: int, refused: Refused
    ) -> tuple[PartitionPlan, dict[str, Former], ProfileTable]:
        """Count a partition's events; give it with the profiles that ought to fit, and the count.

        Users with an event while that is done are left out: what the changelog says of them is of
        another moment.
        """
        standing, group = self._built.standing(number)
        target = standing or 0
        counter = NoVectors(self._embedder.identity)
        counting = NextProfiles(self._settings, counter, self._cluster)
        offset, known = counting.fresh(number)
        # Nothing is read back: what was built is of vectors.
        empty = known.model_copy(
            update={"begin": self._cluster.end(self._topics.next_profiles, number)}
        )
        growing = counting.read(number, offset, empty)
        for _ in growing.grow(
            counting.input_of(growing, target), target, refused.get(number, set())
        ):
            pass
        formers = self._unmoved(number, target)
        low, end = self._cluster.watermarks(self._topics.events, number)
        part = PartitionPlan(number, standing, low, end, metadata=group.write())
        part.formers.update(former.record.embedding for former in formers.values())
        return part, formers, growing.table

    def _unmoved(self, number: int, since: int) -> dict[str, Former]:
        """Give the group's users who have had no event behind an offset."""
        formers = self._survey.state(number).formers
        # What the changelog holds was committed up to here at most.
        now = self._built.standing(number)[0] or 0
        form = self._settings.events.key
        moving = {
            decode_key(record.key or b"", form)
            for record in self._cluster.read(
                self._topics.events,
                number,
                now,
                start=since,
                no_progress_seconds=self._settings.restore.no_progress_seconds,
            )
        }
        return {user: former for user, former in formers.items() if user not in moving}

    # --- order ------------------------------------------------------------------------------

    def _wait_for_workers(self) -> None:
        """Wait until the worker of every partition holds both models, as its offsets say."""
        told, pauses = float("-inf"), _pauses()
        while True:
            missing = [
                number
                for number in range(self._partitions)
                if self._embedder.identity not in self._built.standing(number)[1].held
            ]
            if not missing:
                return
            if time.monotonic() - told >= _TELL_SECONDS:
                told = time.monotonic()
                self._say(
                    f"partitions {ranges(missing)} are not read by workers that hold both models: "
                    "restart all workers with the next model as embedding.model and the former one "
                    "as embedding.former.model; waiting\n"
                )
            time.sleep(next(pauses))
            self._pass()

    def _freeze(self) -> None:
        """Have the trainer keep the version in force, which is the one to be carried over."""
        if not self._control().frozen:
            give_order(
                self._settings, OrderAction.MIGRATE, seconds=self._answer_seconds, tell=self._tell
            )

    def _order(self) -> bool:
        """Give the order, and wait for the answer; tell whether it was followed."""
        current = self._found().current
        if current is None:
            raise MigrationError("there are no segments any more")
        model = self._carried_over(current)
        order = ModelOrder(
            action=OrderAction.MIGRATE,
            model=model.to_record(),
            seen=current.version,
            at=datetime.now(UTC),
            by=operator(),
        )
        name = str(uuid.uuid4())
        value = order.model_dump_json().encode()
        output = Output(self._topics.model_control, name.encode(), value, partition=0)
        # With an offset, as it stands: so it is a transaction of a command that nobody has fenced.
        growing, known = self._growing(0)
        self._keep(growing, known)
        self._write([output], 0, growing.offset, known)
        answer = self._answer_to(name)
        if not answer.done:
            newest = self._found().current
            if newest is None or newest.version == current.version:
                raise MigrationError(f"the trainer refuses: {answer.detail}")
            self._say(f"once more, since the trainer refuses: {answer.detail}\n")
            return False
        self._say(f"{answer.detail}\n")
        return True

    def _carried_over(self, current: SegmentModel) -> SegmentModel:
        """Give the next version: the segments in force, at their members' place."""
        totals = Totals(
            self._embedder.dimensions,
            self._settings.training.sample_users,
            current.sample_threshold,
        )
        for number in range(self._partitions):
            growing, known = self._growing(number)
            self._keep(growing, known)
            totals.add(self._placed(number, growing.table))
        model = totals.carry_over(current, self._embedder.identity)
        if model is None:
            raise MigrationError(
                f"no event is left by which the segments of model {current.version} could be "
                "placed: run the former embedding model"
            )
        return model

    def _placed(self, number: int, built: ProfileTable) -> ProfileTable:
        """Give the profiles that were built, each with where the user stands now."""
        state = self._survey.state(number)
        for former in chunks(list(state.formers.values()), _USERS_AT_ONCE):
            rows = built.gather([each.record.user_id for each in former])
            for row, each in enumerate(former):
                segment = each.record.segment
                rows.segments[row] = -1 if segment is None else segment
            state.table.put(rows)
        return state.table

    def _answer_to(self, name: str) -> OrderAnswer:
        """Wait for the trainer's answer to an order."""
        deadline, told = time.monotonic() + self._answer_seconds, False
        pauses = _pauses()
        while True:
            for answer in self._control().state.answers:
                if answer.id == name:
                    return answer
            if not told and time.monotonic() > deadline:
                told = True
                self._say(
                    f"no trainer has answered within {self._answer_seconds:g} s: is one running? "
                    "the order waits for it, and so does this command\n"
                )
            time.sleep(next(pauses))

    # --- wait, and clear --------------------------------------------------------------------

    def _wait_for_partitions(self) -> None:
        """Wait until every partition is of the next model, and every user's record."""
        left, told = set(range(self._partitions)), float("-inf")
        pauses = _pauses()
        while left:
            still, took = set[int](), 0.0
            for number in left:
                began = time.monotonic()
                if not self._is_switched(number):
                    still.add(number)
                    took += time.monotonic() - began
            left = still
            if left and time.monotonic() - told >= _TELL_SECONDS / 6:
                told = time.monotonic()
                done = self._partitions - len(left)
                self._say(f"{done} of {self._partitions} partitions are of the next model\n")
            # To look again takes reading changelogs: a quarter of the time, at most.
            if left:
                time.sleep(max(next(pauses), 3 * took))

    def _is_switched(self, number: int) -> bool:
        _, known = self._built.standing(number)
        if known.embedding not in {None, self._embedder.identity}:
            return False
        return not self._survey.state(number).formers

    def _clear(self) -> int:
        """Remove what was built; give how many profiles that were."""
        self._kept.clear()
        removed = 0
        for number in range(self._partitions):
            there: dict[bytes, None] = {}
            for record in self._cluster.read(
                self._topics.next_profiles,
                number,
                no_progress_seconds=self._settings.restore.no_progress_seconds,
            ):
                if record.value is None:
                    there.pop(record.key or b"", None)
                else:
                    there[record.key or b""] = None
            offset, _ = self._built.progress(number) or (0, None)
            for keys in chunks(list(there), _USERS_AT_ONCE):
                topic = self._topics.next_profiles
                outputs = [Output(topic, key, None, partition=number) for key in keys]
                # With the first of them nothing is built any more.
                self._write(outputs, number, offset, Progress())
            if there:
                removed += len(there)
            elif self._built.progress(number) is not None:
                self._write([], number, offset, Progress())
        return removed

    def _unfreeze(self) -> None:
        state = self._control().state
        if not state.frozen:
            return
        if state.cause != OrderAction.MIGRATE:
            self._say(f"the model stays frozen, by {state.cause}: segmenter models unfreeze\n")
            return
        give_order(
            self._settings,
            OrderAction.UNFREEZE,
            seconds=self._answer_seconds,
            tell=self._tell,
        )

    def _tell(self, sentence: str) -> None:
        self._say(f"{sentence}\n")

    # --- writing ----------------------------------------------------------------------------

    def _write(
        self,
        outputs: Sequence[Output],
        number: int,
        offset: int,
        known: Progress,
    ) -> None:
        """Commit outputs with how far a partition is.

        What is written is the same each time, so it is written again after an outcome that is not
        known: states are whole, and an order of the same id is followed once.
        """
        offsets = [TopicPartition(self._topics.events, number, offset, known.write())]
        for attempt in range(_ATTEMPTS):
            outcome = self._producer.write(outputs, offsets, self._client)
            if outcome is Outcome.COMMITTED:
                return
            if outcome is Outcome.UNKNOWN:
                self._producer.reopen()
            time.sleep(0.1 * 2**attempt)
        raise MigrationError(
            f"{_ATTEMPTS} transactions in a row failed; the lines before say why; run the command "
            "again when that is mended: what is done stays"
        )


def _pauses() -> Iterator[float]:
    """Give the seconds from each look at something to the next."""
    seconds = _LOOK_SECONDS
    while True:
        yield seconds
        seconds = min(2 * seconds, _LONGEST_LOOK_SECONDS)
