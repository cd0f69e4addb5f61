"""The section `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from schemas.base import Section


def _is_a_path(value: object) -> object:
    """Refuse an empty text, of which a path to the folder that the process is in would be made."""
    if value == "":
        raise ValueError("the path is empty: leave it out where there is to be none")
    return value


class RestoreSettings(Section):
    """Reading the state back from its changelog."""

    no_progress_seconds: float = Field(
        60, gt=0, description="Seconds without a record after which the worker gives up."
    )
    accept_lost_offsets: bool = Field(
        False,
        description="Begin where kafka.auto_offset_reset says although the changelog holds state "
        "and the group has no offset: events count again, or are skipped.",
    )
    checkpoint_dir: Annotated[Path | None, BeforeValidator(_is_a_path)] = Field(
        None,
        description="Folder on a lasting volume for local checkpoints of the state; none keeps "
        "no checkpoints.",
    )
    checkpoint_seconds: float = Field(
        60, gt=0, description="Seconds between two checkpoints of a partition at least."
    )
    # A changelog's tombstone may be cleaned away delete.retention.ms (24 h by default) after it was
    # written, and a checkpoint from before it would bring its user back. Half of that leaves room
    # for clocks that differ and for the reading itself.
    checkpoint_max_age_hours: float = Field(
        12,
        gt=0,
        description="Older checkpoints are not used; must be below the changelog's "
        "delete.retention.ms.",
    )
