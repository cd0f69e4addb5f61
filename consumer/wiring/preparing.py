"""The processes that prepare batches for a worker, as the settings and the machine have it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumer.contract.figures import Figures
from consumer.engine.batches import AHEAD
from consumer.process import ending
from consumer.process.children import Children
from consumer.settings import Settings
from consumer.stages.segmentation.cleaning import Cleaned, CleaningRecipe, Request, make_cleaning

if TYPE_CHECKING:
    from models.embedding.engine.text_embedder import ModelEmbedder

logger = logging.getLogger(__name__)

CleaningChildren = Children[Request, Cleaned]

# More than the worker itself has work from: with the default tokenizer a long text takes a process
# six times as long as the worker (docs/performance.md).
_MOST_UNASKED = 6
# The process that hangs has to be noticed, and told of, by this one first.
_LATER_SECONDS = 10.0


def process_count(settings: Settings, device: str, cores: int) -> int:
    """Give the number of processes that prepare batches.

    Parameters
    ----------
    settings
        Says how many, or leaves it open.
    device
        Where the model runs. On the CPU it uses all cores by itself.
    cores
        That this process may use. One is for the process that runs the model, applies and commits,
        another for what feeds the GPU and talks to Kafka.
    """
    asked = settings.batch.prepare_processes
    if asked != "auto":
        return asked
    if device == "cpu" or cores < 2:
        return 0
    return max(1, min(cores - 2, _MOST_UNASKED))


@contextmanager
def preparing(settings: Settings, embedder: ModelEmbedder) -> Iterator[CleaningChildren | None]:
    """Run the processes that prepare batches, None where that is done in threads.

    Raises
    ------
    ChildFailedError
        If they do not start.
    """
    from models.embedding.runtime import available_cores  # noqa: PLC0415 - loads ONNX Runtime

    count = process_count(settings, embedder.device, available_cores())
    if not count:
        yield None
        return
    children = Children(
        make_cleaning,
        CleaningRecipe(settings.events.intake(), settings.events.language_share, embedder.recipe),
        count,
        log=settings.log,
        limit_seconds=settings.batch.prepare_timeout_seconds + _LATER_SECONDS,
    )
    logger.info("%d processes prepare batches (batch.prepare_processes)", count)
    ending.before_force(children.kill)
    with children:
        yield children


def ahead(children: CleaningChildren | None) -> int:
    """Give how many batches are prepared at the same time.

    With processes it is one in each, one that is embedded, and one that waits for its turn.
    """
    return AHEAD if children is None else children.count + 2


def suspect(children: CleaningChildren | None, seconds: float) -> str:
    """Say what may hang where a batch is not prepared after so many seconds.

    Its text is cleaned first. So it is a process where one has been at a request for most of that
    time, else what comes after: the embedding.
    """
    if children is not None and (waited := children.longest_wait) is not None:
        pid, lasted = waited
        if lasted > seconds / 2:
            return (
                f"the process {pid} that prepares batches (batch.prepare_processes) has not "
                f"answered for {lasted:.0f} s; is it stopped, or does it get no time?"
            )
    return "does the embedding's device hang?"


def figures(children: CleaningChildren | None) -> Figures:
    """Give the figures of the processes, all 0 where there are none."""
    yield "preparing_processes", children.alive if children else 0
    yield "preparing_process_restarts", children.restarts if children else 0
    yield "preparing_process_seconds", children.busy_seconds if children else 0
