"""What is told of brokers that cannot be reached: when they are lost, once a minute, when back.

librdkafka tells of every attempt to connect, of each client, and twice: some 50 lines a second. It
hands its lines over when the client is polled, which may be minutes later. So its lines come in
here, through the logger that all clients are given, and what goes out is a state and its changes.

An address is lost when an attempt fails and the group's member has not just heard of it. It is back
when the member hears of it (`sample`), or, in a process without one, when a question is answered
(`answered`).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0
# A line may be about a moment ago: who has been heard of since is not lost.
_HEARD_SECONDS = 3.0

# "[thrd:x]: sasl_ssl://broker:9092/1: what happened (after 3ms in state CONNECT)"; connections to
# coordinators are named GroupCoordinator and TxnCoordinator.
_PLACE = re.compile(
    r"^(?:\[thrd:[^\]]*\]: )?(?:\w+Coordinator(?:/\S*)?: )?(?:\w+://)?"
    r"(?!\[thrd)(?P<address>\S+?:\d+)(?:/\S+)?: (?P<words>.*?)(?P<after> \(after .*\))?$"
)
# Such as a coordinator that loads, at the first transaction on brokers that have just started.
_PASSES = re.compile(r": retrying$")
_ALL_DOWN = re.compile(r"\d+/\d+ brokers are down")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a broker cannot be reached, and what to look at.

    `passes` tells whether it may be so because the broker is not up yet.
    """

    what: str
    hint: str
    passes: bool = False


# Brokers close idle connections, after minutes. One that asks for a login takes the question which
# versions it knows, and closes the connection at the next one.
_CLOSED = re.compile(r"after (?P<ms>\d+)ms in state UP")
_AT_ONCE_MS = 1000
_LOGIN = "sasl.mechanism and sasl.username in kafka.properties, sasl.password in kafka.secrets"
# The first that fits. The state of the connection is part of what is searched.
_CAUSES = (
    (
        re.compile(r"Failed to resolve|No address associated"),
        Cause("its name is not known", "check kafka.bootstrap_servers, and the DNS", passes=True),
    ),
    (
        re.compile(r"Connection refused"),
        Cause(
            "it refuses the connection",
            "nothing listens there: check kafka.bootstrap_servers, and that the broker runs",
            passes=True,
        ),
    ),
    (
        re.compile(r"No route|unreachable", re.IGNORECASE),
        Cause(
            "no network leads there",
            "check kafka.bootstrap_servers, routes and firewalls",
            passes=True,
        ),
    ),
    (
        re.compile(r"APIVERSION|ApiVersion|Invalid response size"),
        Cause(
            "it does not answer as a broker does",
            "it may ask for TLS or a login (security.protocol in kafka.properties), or be "
            "something else (the port in kafka.bootstrap_servers)",
        ),
    ),
    (
        re.compile(r"certificate|hostname mismatch|unknown ca", re.IGNORECASE),
        Cause(
            "TLS: one side does not trust the other's certificate",
            "check ssl.ca.location, ssl.certificate.location and ssl.key.location in "
            "kafka.properties, and the name in the broker's certificate",
        ),
    ),
    (
        re.compile(r"SSL|TLS"),
        Cause(
            "the TLS handshake fails",
            "check security.protocol in kafka.properties, and that this port speaks TLS",
        ),
    ),
    (
        re.compile(r"SASL|[Aa]uthenticat|AUTH_"),
        Cause(
            "it refuses the login (SASL)",
            f"check security.protocol, {_LOGIN}, and that this port asks for a login",
        ),
    ),
    (
        _CLOSED,
        Cause(
            "it closes the connection at the first question",
            f"it may ask for a login: check security.protocol, {_LOGIN}",
        ),
    ),
    (
        re.compile(r"[Tt]imed out|no answer"),
        Cause(
            "it does not answer (time-out)",
            "check kafka.bootstrap_servers and firewalls, and whether the broker hangs",
            passes=True,
        ),
    ),
)
_OTHER = Cause(
    "the connection fails", "check kafka.bootstrap_servers and kafka.properties", passes=True
)


def cause_of(words: str) -> Cause:
    """Tell what librdkafka's words mean."""
    return next((cause for pattern, cause in _CAUSES if pattern.search(words)), _OTHER)


@dataclass(slots=True)
class _Outage:
    """An address that cannot be reached."""

    since: float
    failed: float
    told: float
    cause: Cause
    words: str
    attempts: int = 1

    @property
    def sentence(self) -> str:
        return f"{self.cause.what} ({self.words}); {self.cause.hint}"


@dataclass(slots=True)
class _Kind:
    """Lines of one kind."""

    told: float
    left_out: int = 0


class BrokerLog(logging.Filter):
    """Takes librdkafka's lines in; safe to call from several threads.

    Parameters
    ----------
    clock
        Seconds that do not go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # A logger may be told from within a callback of a client that holds it already.
        self._lock = threading.RLock()
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a new process."""
        self._lost: dict[str, _Outage] = {}
        self._kinds: dict[str, _Kind] = {}
        self._heard: dict[str, float] = {}
        self._members: frozenset[str] = frozenset()
        self._sampled = self._up = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Take a line of librdkafka; tell whether it is to be logged as it is."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        facility, _, text = ("", "", record.getMessage()) if len(arguments) != 3 else arguments
        if self._take(str(text)):
            return False
        if _PASSES.search(str(text)) and record.levelno > logging.INFO:
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        with self._lock:
            now = self._clock()
            kind = self._kinds.get(str(facility))
            if kind is not None and now - kind.told < _AGAIN_SECONDS:
                kind.left_out += 1
                return False
            self._kinds[str(facility)] = _Kind(now)
        if kind is not None and kind.left_out:
            record.msg, record.args = f"{record.getMessage()} ({kind.left_out} more like it)", ()
        return True

    def error(self, name: str, text: str) -> None:
        """Take an error that a client has called back with, and that passes by itself."""
        librdkafka_logger.warning("%s [%s] %s", name, "error", text)

    def sample(self, up: Collection[str], members: Collection[str]) -> None:
        """Say whom the group's member hears of at the moment.

        Parameters
        ----------
        up
            Addresses of brokers that it is connected to.
        members
            Addresses that the cluster itself names.
        """
        with self._lock:
            now = self._clock()
            self._heard.update(dict.fromkeys(up, now))
            self._members = frozenset(members)
            if up and not self._up:
                self._all_back(now)
            elif up:
                for address in self._lost.keys() & set(up):
                    seconds = now - self._lost.pop(address).since
                    logger.info("broker %s answers again after %.0f s", address, seconds)
                # Another name of one that is back, or one that nobody asks any more.
                for address in list(self._lost):
                    if now - self._lost[address].failed > _AGAIN_SECONDS:
                        del self._lost[address]
            self._sampled, self._up = True, bool(up)

    def answered(self) -> None:
        """Say that a question was answered; of use where there is no member to be sampled."""
        with self._lock:
            if not self._sampled:
                self._all_back(self._clock())

    def silent(self, servers: str, seconds: float) -> None:
        """Say that no broker has answered for so long, whatever connections there are."""
        self._failed(servers, f"no answer for {seconds:.0f} s", "")

    def reason(self) -> str | None:
        """Give the latest cause, for the error of who has to give up; None where none is known."""
        found = self.latest()
        return (
            None if found is None else f"{found[0]}: {found[1].what} ({found[2]}); {found[1].hint}"
        )

    def latest(self) -> tuple[str, Cause, str] | None:
        """Give the address that was lost last, why, and the client's words; None where none is."""
        with self._lock:
            latest = max(self._lost.items(), key=lambda item: item[1].failed, default=None)
            return None if latest is None else (latest[0], latest[1].cause, latest[1].words)

    def _all_back(self, now: float) -> None:
        if self._lost:
            seconds = now - min(outage.since for outage in self._lost.values())
            logger.info("Kafka answers again after %.0f s", seconds)
            self._lost.clear()

    def _take(self, text: str) -> bool:
        """Take a line if it is about a connection."""
        if _ALL_DOWN.search(text):
            return True
        found = _PLACE.match(text)
        if found is None:
            return False
        # What librdkafka advises about an answer of a wrong length leads astray.
        words = found["words"].partition(": increase ")[0]
        self._failed(found["address"], words, found["after"] or "")
        return True

    def _failed(self, address: str, words: str, after: str) -> None:
        with self._lock:
            now = self._clock()
            if now - self._heard.get(address, float("-inf")) < _HEARD_SECONDS:
                return
            if self._up and address not in self._members:
                return  # another name of a broker that the member reaches
            outage = self._lost.get(address)
            closed = _CLOSED.search(after)
            if outage is None and closed and int(closed["ms"]) >= _AT_ONCE_MS:
                return  # an attempt to connect again that fails is told
            cause = cause_of(words + after)
            if outage is None:
                self._lost[address] = outage = _Outage(now, now, now, cause, words)
                # All brokers of a cluster that is gone are one outage.
                if len(self._lost) == 1 or not self._sampled:
                    logger.warning("Kafka cannot be reached at %s: %s", address, outage.sentence)
                return
            outage.failed, outage.attempts = now, outage.attempts + 1
            first_contact = not self._sampled and cause != outage.cause
            outage.cause, outage.words = cause, words
            if first_contact:
                logger.warning("Kafka cannot be reached at %s: %s", address, outage.sentence)
            elif now - max(each.told for each in self._lost.values()) >= _AGAIN_SECONDS:
                outage.told = now
                logger.warning(
                    "Kafka has not been reached at %s for %.0f s, %d attempts: %s",
                    ", ".join(self._lost),
                    now - outage.since,
                    sum(each.attempts for each in self._lost.values()),
                    outage.sentence,
                )


librdkafka_logger = logging.getLogger("librdkafka")
"""Given to every client: librdkafka writes to standard error by itself otherwise."""

broker_log = BrokerLog()
librdkafka_logger.addFilter(broker_log)
