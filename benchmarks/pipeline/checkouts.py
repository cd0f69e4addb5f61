"""A checkout's own code as a process that answers requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).parent / "driver.py"


def python_of(checkout: Path) -> Path:
    """Give the Python of a checkout's environment, or this one for this checkout."""
    own = checkout / ".venv/bin/python"
    return own if own.exists() else Path(sys.executable)


def environment_of(checkout: Path) -> dict[str, str]:
    """Give the environment in which a checkout's modules are found before any others.

    `anywhere`, of this checkout, is found too.
    """
    return {**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{DRIVER.parent}"}


class Checkout:
    """A driver, running in a checkout while the `with` block lasts.

    Parameters
    ----------
    path
        The checkout; its `.venv` is used where it has one.
    driver
        A program that answers requests (`anywhere.serve`).
    """

    def __init__(self, path: Path, driver: Path = DRIVER) -> None:
        self.path = path.resolve()
        self.driver = driver

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [python_of(self.path), self.driver],
            cwd=self.path,
            env=environment_of(self.path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:
            pass  # closes its input, at which it ends, and waits for that

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have a request answered.

        Raises
        ------
        RuntimeError
            If the process ended over it; it has told why.
        """
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(json.dumps({"do": do, **arguments}) + "\n")
        pipe.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"the driver in {self.path} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
