"""Whether a model reads what users write: what it does not know, as a share, and who else would."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.embedding.runner_types import Description
from models.text import SCRIPTS, scripts_of

logger = logging.getLogger(__name__)

WINDOW_TOKENS = 20_000
"""Tokens that are looked at together: some hundred texts."""


def unread_letters(letters: Mapping[str, int], model: Description) -> int:
    """Count the letters in scripts that none of a model's languages is written in.

    Parameters
    ----------
    letters
        By script.
    model
        Of one that does not tell its languages all are taken to be read.
    """
    if not model.reads:
        return 0
    known = scripts_of(model.reads)
    return sum(count for script, count in letters.items() if script not in known)


def reader_of(letters: Mapping[str, int], *, words: bool) -> str:
    """Name the model that reads letters by script, as advice for the operator.

    Parameters
    ----------
    letters
        By script.
    words
        Whether the model in use is `words`, which may be too old rather than the wrong one.
    """
    if words:
        return (
            "fit it again on what is written now (`segmenter model fit words`), and migrate to it"
        )
    total, latin = sum(letters.values()), letters.get("latin", 0)
    if total and latin >= total / 2:
        return (
            "are these words at all? `segmenter model advise` tells which languages there are and "
            "which model reads them"
        )
    return (
        "take embedding.model = multilingual, which reads a hundred languages, or words, which is "
        "fitted on your own history; `segmenter model advise` tells more"
    )


class ModelFit:
    """Warns while a model does not know much of what it is given; called under a lock.

    Parameters
    ----------
    model
        The one in use.
    limit
        The share of tokens that it does not know, or of letters in scripts that it does not read,
        above which it is told.
    words
        Whether it knows texts by their words alone.
    """

    def __init__(self, model: Description, limit: float, *, words: bool) -> None:
        self._model = model
        self._limit = limit
        self._words = words
        self._told = False
        self._begin()

    def _begin(self) -> None:
        self._tokens = self._unknown = 0
        self._letters: NDArray[np.int64] = np.zeros(len(SCRIPTS), np.int64)

    def __call__(self, tokens: int, unknown: int, letters: NDArray[np.int64]) -> None:
        """Take in what went through the model.

        Parameters
        ----------
        tokens, unknown
            All tokens, and those that stand for what it does not know.
        letters
            By script, (scripts,).
        """
        self._tokens += tokens
        self._unknown += unknown
        self._letters += letters
        if self._tokens >= WINDOW_TOKENS:
            self._judge()
            self._begin()

    def _judge(self) -> None:
        letters = dict(zip(SCRIPTS, self._letters.tolist(), strict=True))
        unknown = self._unknown / self._tokens
        unread = unread_letters(letters, self._model) / max(sum(letters.values()), 1)
        over = max(unknown, unread) > self._limit
        if over and not self._told:
            logger.warning(
                "the embedding model %s does not know %.0f %% of the latest %s tokens, and %.0f %% "
                "of the letters are of scripts that it does not read (embedding.max_unknown_share "
                "is %g): segments will follow accidents of such texts; %s",
                self._model.name,
                100 * unknown,
                f"{self._tokens:,}",
                100 * unread,
                self._limit,
                reader_of(letters, words=self._words),
            )
        self._told = over
