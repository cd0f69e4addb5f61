"""The process that ends a cluster's brokers when the process that started them is gone.

A script of its own, run by path: `python -I -S watchdog.py PARENT_PID`. It leads a process group
that the brokers join as they start. Its standard input is a pipe from the parent. When the pipe
closes, or the parent is no longer its parent, it kills the whole group, itself included.

Why not PR_SET_PDEATHSIG: Linux sends that signal when the *thread* that started the child ends,
other systems do not have it, and setting it needs a preexec_fn, which is unsafe among threads.
Why not the pipe alone: a child that the parent forks inherits the writing end and keeps it open.
"""

import os
import select
import signal
import sys

PARENT_CHECK_S = 0.5


def main(parent: int) -> None:
    """Wait until the parent is gone or has closed the pipe; then kill this process group."""
    closed: list[object] = []
    while os.getppid() == parent and not closed:
        closed, _, _ = select.select([sys.stdin], [], [], PARENT_CHECK_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
