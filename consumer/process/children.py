"""Processes of one's own that compute, for more cores than one interpreter uses.

They are started anew, not forked: a process with threads, or with a GPU, cannot be forked safely.
Each has a socket to this process and shares nothing with it. It knows by that when this process is
gone, however it went, and ends too.

A process that dies takes with it the request that it was at, and nothing else: another one is
started in its place, and whoever made the request is told.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from consumer.contract.stage import StageError
from consumer.process import pipe
from models.daemon_pool import DaemonPool

if TYPE_CHECKING:
    from consumer.settings import LogSettings

logger = logging.getLogger(__name__)

Spec = TypeVar("Spec")
Request = TypeVar("Request")
Answer = TypeVar("Answer")

# One that cannot even start will not be mended by a third attempt.
_STARTS = 3
_CLOSE_SECONDS = 2.0
# It loads what it needs in one or two; a machine that is busy may take long over it.
_READY_SECONDS = 300.0
_ENDED = "the processes that prepare batches are being ended"
_ROOT = Path(__file__).parents[2]
_PACKAGES = ("consumer", "models", "schemas")
# They are many already, and need no threads of libraries beside themselves.
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}


class ChildDiedError(Exception):
    """A process has died amid a request; what became of it is in the message."""


class ChildFailedError(StageError):
    """A process cannot do what it is there for."""


class _Child:
    """One process and the way to it."""

    def __init__(self, log: LogSettings, limit: int, job: tuple[Any, Any]) -> None:
        self._pipe, other = socket.socketpair()
        with other:
            # A process group of its own: what is typed at a terminal, or sent to the group, is for
            # this process, which may need the other one to finish what it has begun.
            self.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "consumer.process.child", str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(other.fileno(),),
                env=_environment(),
                process_group=0,
            )
        with suppress(OSError):  # it is gone: found out when it is asked whether it is ready
            pipe.send(self._pipe, (log.level, log.format, limit))
            pipe.send(self._pipe, job)
        self._ready = False

    def wait_ready(self) -> None:
        """Wait until it has made what answers requests.

        Raises
        ------
        ChildDiedError
            If it ends before that.
        ChildFailedError
            If it says that it cannot, or says nothing for minutes.
        """
        if self._ready:
            return
        with suppress(OSError):  # it has been ended
            self._pipe.settimeout(_READY_SECONDS)
        self._receive()
        self._pipe.settimeout(None)
        self._ready = True

    def ask(self, request: object) -> tuple[Any, float]:
        """Give the answer, and the seconds that it took there.

        Raises
        ------
        ChildDiedError, ChildFailedError
        """
        try:
            pipe.send(self._pipe, request)
        except OSError:
            raise ChildDiedError(self._end()) from None
        return self._receive()

    def _receive(self) -> tuple[Any, float]:
        try:
            kind, answer, seconds = pipe.receive(self._pipe)
        except TimeoutError:
            raise ChildFailedError(
                f"the process {self.process.pid} that prepares batches (batch.prepare_processes) "
                f"is not ready after {_READY_SECONDS:g} s; is it stopped, or does it get no time?"
            ) from None
        except (EOFError, OSError):
            raise ChildDiedError(self._end()) from None
        if kind == "failed":
            raise ChildFailedError(f"a process that prepares batches cannot go on: {answer}")
        return answer, seconds

    def _end(self) -> str:
        """Collect what is left of a process that has hung up; say how it ended."""
        code = self.close(_CLOSE_SECONDS)
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def hang_up(self) -> None:
        """Have it end, unless it hangs."""
        with suppress(OSError):
            self._pipe.shutdown(socket.SHUT_RDWR)

    def close(self, seconds: float) -> int:
        """End it, in so many seconds by itself, then by force; give its exit code."""
        self.hang_up()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._pipe.close()
        return code


class Children(Generic[Request, Answer]):
    """So many processes that answer requests, first come, first served; for any number of threads.

    Parameters
    ----------
    make, spec
        A function at the top of a module, and what it is called with in each process. It gives the
        function that answers requests there.
    count
        How many processes.
    log
        How they log, to this process's standard error.
    limit_seconds
        After so long in one request a process is ended by the system, if this one has not done so.

    Raises
    ------
    ChildFailedError
        If they do not start.
    """

    def __init__(
        self,
        make: Callable[[Spec], Callable[[Request], Answer]],
        spec: Spec,
        count: int,
        *,
        log: LogSettings,
        limit_seconds: float = 3600,
    ) -> None:
        self.count = count
        self._job = (make, spec)
        self._log, self._limit = log, max(int(limit_seconds), 1)
        self._code = _code()
        self._changing = threading.Lock()
        self._closed = False
        self._restarts = 0
        self._busy_seconds = 0.0
        self._asked: dict[int, float] = {}  # since when, of those that are at a request
        self._children = {number: self._start() for number in range(count)}
        # A thread for each process, so that requests wait for one in the order in which they came.
        self._idle = deque(range(count))
        self._threads = DaemonPool(count, "child")
        try:
            for number in range(count):
                self._ready(number)
        except BaseException:
            self.close()
            raise

    def __call__(self, request: Request) -> Answer:
        """Have a request answered.

        Raises
        ------
        ChildDiedError
            If the process died of it, or amid it.
        ChildFailedError
            If it cannot answer, or no process can be started in the place of one that died.
        """
        if self._closed:
            raise ChildFailedError(_ENDED)
        answer: Answer = self._threads.submit(lambda: self._ask(request)).result()
        return answer

    @property
    def pids(self) -> Sequence[int]:
        """The processes, in order."""
        return [child.process.pid for child in self._children.values()]

    @property
    def alive(self) -> int:
        """How many there are at this moment."""
        return sum(child.process.poll() is None for child in list(self._children.values()))

    @property
    def restarts(self) -> int:
        """How many were started in the place of one that died."""
        return self._restarts

    @property
    def busy_seconds(self) -> float:
        """Time that they have spent on requests that were answered, added up."""
        return self._busy_seconds

    @property
    def longest_wait(self) -> tuple[int, float] | None:
        """The process longest at a request, and for how many seconds; None where none is."""
        asked = self._asked.copy()  # at once: the threads that ask change it
        if not asked:
            return None
        number = min(asked, key=asked.__getitem__)
        return self._children[number].process.pid, time.monotonic() - asked[number]

    def kill(self) -> None:
        """End them at once and wait for none; this process ends too."""
        for child in list(self._children.values()):
            with suppress(OSError):
                child.process.kill()

    def close(self) -> None:
        """End them: one that is at a request has two seconds."""
        with self._changing:
            self._closed = True
            children = list(self._children.values())
        for child in children:
            child.hang_up()
        deadline = time.monotonic() + _CLOSE_SECONDS
        for child in children:
            child.close(max(deadline - time.monotonic(), 0.0))
        self._threads.close(_CLOSE_SECONDS)

    def __enter__(self) -> Children[Request, Answer]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: Request) -> Answer:
        number = self._idle.popleft()  # there are as many threads as processes
        self._asked[number] = time.monotonic()
        try:
            self._ready(number)
            answer: Answer
            answer, seconds = self._children[number].ask(request)
        except ChildDiedError as error:
            self._replace(number, str(error))
            raise
        finally:
            del self._asked[number]
            self._idle.append(number)
        with self._changing:
            self._busy_seconds += seconds
        return answer

    def _ready(self, number: int) -> None:
        """Wait until a process is ready; one that dies before that is replaced, a few times."""
        for attempt in range(1, _STARTS + 1):
            try:
                return self._children[number].wait_ready()
            except ChildDiedError as error:
                if attempt == _STARTS:
                    raise ChildFailedError(
                        f"a process that prepares batches does not start: {attempt} times in a "
                        f"row it ended before it was ready, the last time with {error}; is there "
                        "memory for it? (batch.prepare_processes = 0 needs none)"
                    ) from None
                self._replace(number, str(error))
        return None

    def _replace(self, number: int, why: str) -> None:
        with self._changing:
            if self._closed:
                raise ChildFailedError(_ENDED)
            if _code() != self._code:
                raise ChildFailedError(
                    f"a process that prepares batches has died ({why}), and the program's files "
                    "have changed since this process started, so that another one would be of "
                    "another version: start this process anew"
                )
            logger.warning("a process that prepares batches has died (%s); another is started", why)
            self._restarts += 1
            self._children[number] = self._start()

    def _start(self) -> _Child:
        return _Child(self._log, self._limit, self._job)


def _environment() -> dict[str, str]:
    """Give what a process needs to know: it finds what this one does, and reads no settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_")}
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    return {**own, **_ONE_THREAD, "PYTHONPATH": path}


def _code() -> frozenset[tuple[str, int, int]]:
    """Tell the program's own files by their sizes and times: an upgrade in place changes them."""
    files = (path for name in _PACKAGES for path in (_ROOT / name).rglob("*.py"))
    return frozenset((str(path), each.st_size, each.st_mtime_ns) for path, each in _stats(files))


def _stats(files: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in files:
        with suppress(OSError):  # taken away amid the look
            yield path, path.stat()
