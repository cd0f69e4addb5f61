"""What a demo of a file says of its records: why some were refused, and their language."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice

from consumer.offline import outcome
from consumer.offline.produce import Sent
from consumer.offline.refusals import Refusals
from consumer.settings import Settings
from consumer.tryout.demo.stream import FileStream, Stream
from models.embedding.runner_types import Embedder
from models.text import prepare_text
from schemas.intake import RefusedError

_LOOKED_AT = 1_000


def intake_report(
    settings: Settings,
    stream: Stream,
    embedder: Embedder,
    *,
    refusals: Refusals,
    sent: Sent,
    now: datetime,
) -> list[str]:
    """Tell what was not sent, why records were refused, and whether the model reads the texts.

    Of a made-up stream, whose flaws are there on purpose, nothing is told.

    Parameters
    ----------
    settings
        Of the demo.
    stream, sent
        Where the events came from, and what became of them on their way to the broker.
    embedder
        The embedding model.
    refusals
        The records that were refused.
    now
        Against which event times in the future are told.
    """
    if not isinstance(stream, FileStream):
        return []
    _, *told = sent.sentences(settings.topics.events)
    told += outcome.refused(refusals, None, settings)
    warning = outcome.unread_language(_languages(stream, now), embedder)
    return [*told, warning] if warning else told


def _languages(stream: FileStream, now: datetime) -> Counter[str]:
    """Count the first texts by language."""
    languages: Counter[str] = Counter()
    for key, value, _ in islice(stream.records(), _LOOKED_AT):
        try:
            event = stream.intake.read(value, key, now)
        except RefusedError:
            continue
        clean = prepare_text(event.text or event.item_title or "", event.language)
        languages[clean.language] += bool(clean.text)
    return languages
