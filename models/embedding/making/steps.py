"""How far the making of a model is, for who shows it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

Tell = Callable[[str, int, int | None], None]
"""Told of each step: what it is, how much of it is done, and of how much, where that is known."""


def untold(_what: str, _done: int, _total: int | None) -> None:
    """Show nothing."""


def told(what: str, items: Iterable[Item], total: int, tell: Tell) -> Iterator[Item]:
    """Give items one by one, and tell of each once it is done with."""
    tell(what, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        tell(what, done, total)
