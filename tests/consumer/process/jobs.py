"""What the processes of the tests do. They load this module, so it loads little itself."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def answering(spec: str) -> Callable[[tuple[str, Any]], Any]:
    """Does what a request says."""
    sys.stdout.write("printed, and no part of any answer\n")

    def answer(request: tuple[str, Any]) -> Any:
        kind, value = request
        match kind:
            case "echo":
                return spec, value
            case "exit":
                os._exit(value)
            case "sleep":
                time.sleep(value)
            case "wait":
                while not Path(value).exists():
                    time.sleep(0.02)
            case "raise":
                raise ValueError(value)
            case "log":
                logging.getLogger("job").warning("%s", value)
            case "loaded":
                return sorted(sys.modules)
            case "environment":
                return dict(os.environ)
            case "group":
                return os.getpid(), os.getpgid(0), os.getppid()
        return None

    return answer


def exiting(spec: int) -> Callable[[Any], Any]:
    """Ends before it is ready."""
    os._exit(spec)


def failing(spec: str) -> Callable[[Any], Any]:
    """Fails before it is ready, with a message that is nobody's business."""
    raise ValueError(spec)


def never(spec: float) -> Callable[[Any], Any]:
    """Takes its time before it is ready."""
    time.sleep(spec)
    raise AssertionError("nobody waits so long")
