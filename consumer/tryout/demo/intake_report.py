"""What a demo of a file says of its records: why some were refused, and their language."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice

from consumer.contract.records import Record
from consumer.kafka.cluster import read_topic
from consumer.offline import outcome
from consumer.offline.refusals import Refusals
from consumer.settings import Settings
from consumer.tryout.demo.stream import FileStream, Stream
from models.embedding.runner_types import Embedder
from models.text import prepare_text
from schemas.dead_letters import HEADER_PREFIX, Refusal
from schemas.intake import RefusedError

_LOOKED_AT = 1_000


def intake_report(
    settings: Settings, stream: Stream, embedder: Embedder, now: datetime
) -> list[str]:
    """Tell why records were refused, and whether the model reads the texts.

    Of a made-up stream, whose flaws are there on purpose, nothing is told.

    Parameters
    ----------
    settings
        Of the demo.
    stream
        What was sent.
    embedder
        The embedding model.
    now
        Against which event times in the future are told.
    """
    if not isinstance(stream, FileStream):
        return []
    lines = outcome.refused(_refusals(settings), None, settings)
    warning = outcome.unread_language(_languages(stream, now), embedder)
    return [*lines, warning] if warning else lines


def _refusals(settings: Settings) -> Refusals:
    """Read the dead letters."""
    found = Refusals()
    for letter in read_topic(settings, settings.topics.dead_letters):
        headers = {
            name.removeprefix(HEADER_PREFIX): value.decode() for name, value in letter.headers
        }
        place = int(headers["partition"]), int(headers["offset"]), int(headers["timestamp"])
        found.add(
            Record(headers["topic"], *place, letter.key, letter.value),
            Refusal.model_validate({**headers, "field": headers["field"] or None}),
        )
    return found


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
