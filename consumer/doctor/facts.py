"""What was found, as `segmenter doctor --json` writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["worker", "trainer", "recommender", "intake"]
"""Who is to start here."""

State = Literal["fine", "warning", "failed", "later", "skipped"]
"""`warning`: it would start all the same. `later`: it would not, and that may pass by itself.
`skipped`: it could not be looked at."""

EXIT_FAILED = 1
EXIT_LATER = 75  # EX_TEMPFAIL of sysexits.h


class Finding(BaseModel):
    """What one check has found."""

    model_config = ConfigDict(frozen=True)

    check: str = Field(description="What was looked at.")
    state: State
    told: str = Field(description="What was found.")
    advice: str | None = Field(None, description="What to do; null where there is nothing to do.")


class Report(BaseModel):
    """All that was found."""

    model_config = ConfigDict(frozen=True)

    at: str
    role: Role
    version: str = Field(description="Of segmenter.")
    findings: list[Finding]

    @property
    def exit_code(self) -> int:
        """0 where the process could start, 75 where time alone may mend what is wrong, else 1."""
        states = {finding.state for finding in self.findings}
        if "failed" in states:
            return EXIT_FAILED
        return EXIT_LATER if "later" in states else 0


def fine(check: str, told: str) -> Finding:
    """Tell that nothing is wrong."""
    return Finding(check=check, state="fine", told=told)


def skipped(check: str, told: str) -> Finding:
    """Tell why something could not be looked at."""
    return Finding(check=check, state="skipped", told=told)


def warning(check: str, told: str, advice: str) -> Finding:
    """Tell what somebody should know, though a process would start."""
    return Finding(check=check, state="warning", told=told, advice=advice)


def failed(check: str, told: str, advice: str) -> Finding:
    """Tell what keeps a process from starting, or from working."""
    return Finding(check=check, state="failed", told=told, advice=advice)


def later(check: str, told: str, advice: str) -> Finding:
    """Tell what keeps a process from starting at the moment."""
    return Finding(check=check, state="later", told=told, advice=advice)
