"""Cleaning that processes die of, for tests. Processes load this module."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from consumer.stages.segmentation.cleaning import Cleaned, CleaningRecipe, Request, make_cleaning

POISON = b"heliotrope"
"""A process dies of a record whose value holds it."""


def is_poisoned(request: Request) -> bool:
    return any(POISON in (value or b"") for value in request[0])


def dying(recipe: CleaningRecipe) -> Callable[[Request], Cleaned]:
    """Cleans, but dies of poison."""
    clean = make_cleaning(recipe)

    def call(request: Request) -> Cleaned:
        if is_poisoned(request):
            os._exit(9)
        return clean(request)

    return call


def dying_once(recipe: CleaningRecipe) -> Callable[[Request], Cleaned]:
    """Cleans, but dies of a record whose key is the path of a file, which it removes before."""
    clean = make_cleaning(recipe)

    def call(request: Request) -> Cleaned:
        for key in request[1]:
            if key is not None and key.startswith(b"/") and Path(key.decode()).exists():
                Path(key.decode()).unlink()
                os._exit(9)
        return clean(request)

    return call


def telling_what_is_loaded(recipe: CleaningRecipe) -> Callable[[Request], list[str]]:
    """Cleans, and gives the names of all modules that this took."""
    clean = make_cleaning(recipe)

    def call(request: Request) -> list[str]:
        clean(request)
        return sorted(sys.modules)

    return call
