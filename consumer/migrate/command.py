"""The command, from the survey to the last line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from consumer.migrate.report import render_plan, render_result
from consumer.migrate.run import Migration
from consumer.migrate.running import RunningMigration
from consumer.report.progress import counting
from consumer.settings import Settings
from models.embedding.runner_types import Embedder


def migrate(migration: Migration, *, dry_run: bool, say: Callable[[str], object]) -> None:
    """Migrate a group's state to an embedding model, or say what that would do.

    Parameters
    ----------
    migration
        What is to be done.
    dry_run
        Write nothing and join no group.
    say
        Gets lines for the user.

    Raises
    ------
    MigrationError
        If the migration is refused or cannot go on.
    TopicError, StageError, ReadStalledError, FatalKafkaError
        If the topics do not allow it.
    """
    plan = migration.look()
    if not plan.needed:
        say(
            f"nothing to migrate: all of group {migration.groups[0]} is of embedding model "
            f"{plan.embedding[:12]}\n"
        )
        return
    if not dry_run:
        migration.members.wait_until_stopped(migration.groups, say)
    with _steps("counting", "records") as step:
        migration.survey.count(plan, step)
    say(render_plan(plan, migration.members.counts(migration.groups) if dry_run else {}))
    if dry_run:
        return
    with _steps("embedding", "records") as step:
        result = migration.run(plan, step)
    say(render_result(result))


def migrate_running(
    settings: Settings,
    embedder: Embedder,
    *,
    accept_missing_history: bool,
    abort: bool,
    say: Callable[[str], object],
) -> None:
    """Bring a group that goes on working to an embedding model, or take back what was begun.

    Parameters
    ----------
    settings
        Of the workers, which hold both models.
    embedder
        The next model.
    accept_missing_history
        Go on where the input lacks events that profiles have counted.
    abort
        Remove what was built, in place of going on.
    say
        Gets lines for the user.

    Raises
    ------
    MigrationError
        If it is refused or cannot go on.
    TopicError, StageError, ReadStalledError, FatalKafkaError
        If the topics do not allow it.
    """

    def tell(line: str) -> None:
        say(line)
        sys.stdout.flush()  # it takes hours, mostly into a log

    with _steps("embedding", "records") as step:
        running = RunningMigration(
            settings, embedder, accept_missing_history=accept_missing_history, say=tell, step=step
        )
        if abort:
            running.abort()
        else:
            running.run()


@contextmanager
def _steps(what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress of work that tells how much each step has done."""
    with counting(Console(stderr=True), what, unit) as show:
        done = 0

        def step(size: int) -> None:
            nonlocal done
            done += size
            show(done)

        yield step
