"""The part of preparing that needs no model: what of a batch are events, what they say, in tokens.

It may be done in another process (`consumer.stages.segmentation.processes`). So it loads neither a
Kafka client nor ONNX Runtime, and what goes in and comes out is cheap to send.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from consumer.stages.segmentation.prepared import EVENT_TYPES, WORDS, PreparedEvents
from consumer.stages.shared.unexpected import Faults
from models.profiles.rows import hash_event_ids
from models.profiles.sample import rank, ranks
from models.text import clean, clean_all, detect_language, detect_languages, has_words, tokenize
from schemas.dead_letters import Refusal, RefusalReason
from schemas.events import EventType
from schemas.intake import Intake, RefusedError
from schemas.sifting import SiftedColumns, SiftedEvent

if TYPE_CHECKING:  # loaded where texts are tokenised
    from models.embedding.engine.tokenising import Recipe
    from models.embedding.tokens import Tokenise, Tokens

_CODES = {kind.value: code for code, kind in enumerate(EVENT_TYPES)}


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """What cleaning makes of a batch's records.

    Attributes
    ----------
    events
        The accepted ones.
    refusals
        Why the others are none, by their number.
    tokens
        Of the events' texts, in their order; None where nothing has tokenised them yet.
    """

    events: PreparedEvents
    refusals: dict[int, Refusal]
    tokens: Tokens | None = None


def words_of(text: str | None, title: str | None) -> tuple[str, str]:
    """Give what an event says, as it came and cleaned: its text, or its title in place of that.

    Raises
    ------
    RefusedError
        If neither holds words.
    """
    for raw in (text, title):
        if raw and has_words(cleaned := clean(raw)):
            return raw, cleaned
    raise RefusedError(RefusalReason.NO_TEXT, "neither text nor item_title holds words", "text")


@dataclass(frozen=True, slots=True)
class CleaningRecipe:
    """What it takes to clean in another process.

    Attributes
    ----------
    intake
        Reads events from records.
    language_share
        As for `Cleaning`.
    tokeniser
        How texts are tokenised; None where they are not.
    """

    intake: Intake
    language_share: float
    tokeniser: Recipe | None = None


Request = tuple[Sequence[bytes | None], Sequence[bytes | None], datetime, float]
"""What `Cleaning` is called with."""


def make_cleaning(recipe: CleaningRecipe) -> Callable[[Request], Cleaned]:
    """Give what cleans in another process.

    Raises
    ------
    MissingFileError, DamagedFileError
        If the tokenizer is no longer what it was.
    """
    tokeniser = recipe.tokeniser.load() if recipe.tokeniser is not None else None
    cleaning = Cleaning(recipe.intake, Faults(), tokeniser, language_share=recipe.language_share)
    return lambda request: cleaning(*request)


class Cleaning:
    """Validates records and cleans their texts; for one thread.

    Parameters
    ----------
    intake
        Reads events from records.
    faults
        Makes refusals of what the program fails on.
    tokeniser
        Of the model, where texts are to be tokenised too.
    language_share
        Share of users, by hash, for whose texts the language detector is asked where nothing
        cheaper tells (`events.language_share`).
    """

    def __init__(
        self,
        intake: Intake,
        faults: Faults,
        tokeniser: Tokenise | None = None,
        *,
        language_share: float,
    ) -> None:
        self._intake = intake
        self._faults = faults
        self._tokeniser = tokeniser
        self._language_share = language_share

    def __call__(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        now: datetime,
        sampled: float = 1,
    ) -> Cleaned:
        """Clean a batch.

        Parameters
        ----------
        values, keys
            Of its records, as they came from Kafka.
        now
            What event times in the future are told by.
        sampled
            Up to which `rank` the words of users are kept: those of others are not cut.
        """
        try:
            events, refusals = self._clean_at_once(values, keys, now, sampled)
        except Exception:
            # One record is to blame, or a few; which they are each record has to tell alone.
            events, refusals = self._clean(values, keys, now, sampled)
        if self._tokeniser is None:
            return Cleaned(events, refusals)
        try:
            return Cleaned(events, refusals, self._tokeniser(events.texts))
        except Exception:
            # One text is to blame, or a few; which they are each text has to tell alone.
            return self._tokenise_apart(self._tokeniser, events, refusals)

    def _clean_at_once(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        now: datetime,
        sampled: float,
    ) -> tuple[PreparedEvents, dict[int, Refusal]]:
        """Do as `_clean` does, one step for all records after the other.

        Raises
        ------
        Exception
            Whatever the program fails on.
        """
        refusals: dict[int, Refusal] = {}
        left_out: dict[int, tuple[str, ...]] = {}
        sifted, others = self._intake.sift_all(values, keys, now)
        for number in others:
            try:
                event, without = self._intake.sift(values[number], keys[number], now)
            except RefusedError as error:
                refusals[number] = error.refusal
                continue
            sifted.insert(number, event)
            if without:
                left_out[number] = without
        said = zip(sifted.texts, sifted.titles, strict=True)
        texts = clean_all([text or title or "" for text, title in said])
        silent = set()
        for place, text in enumerate(texts):
            if text[:1].isalpha() or has_words(text):
                continue
            try:
                _, texts[place] = words_of(sifted.texts[place], sifted.titles[place])
            except RefusedError as error:
                silent.add(place)
                refusals[sifted.numbers[place]] = error.refusal
        if silent:
            sifted = sifted.without(silent)
            texts = [text for place, text in enumerate(texts) if place not in silent]
        places = ranks(sifted.users)
        detect = (places <= max(sampled, self._language_share)).tolist()
        languages = detect_languages(texts, sifted.languages, detect)
        words: list[tuple[str, ...] | None] = [None] * len(texts)
        for row in np.flatnonzero(places <= sampled).tolist():
            words[row] = tuple(tokenize(texts[row], languages[row]))
        if left_out or not self._intake.names_all:
            left_out = self._left_out(sifted, texts, languages, words, left_out)
        events = PreparedEvents(
            numbers=np.array(sifted.numbers, np.int64),
            users=sifted.users,
            ranks=places,
            event_ids=sifted.event_ids,
            hashes=hash_event_ids(sifted.event_ids),
            times=np.array(sifted.times, np.int64),
            types=np.array([_CODES[kind] for kind in sifted.types], np.uint8),
            languages=languages,
            texts=texts,
            words=words,
            items=sifted.items,
            ratings=sifted.ratings,
            attributes=sifted.attributes,
            left_out=left_out,
        )
        return events, refusals

    def _left_out(
        self,
        sifted: SiftedColumns,
        texts: Sequence[str],
        languages: Sequence[str],
        words: list[tuple[str, ...] | None],
        by_number: Mapping[int, tuple[str, ...]],
    ) -> dict[int, tuple[str, ...]]:
        """Give what is left out by row, words among it, which are then taken away."""
        left_out: dict[int, tuple[str, ...]] = {}
        for row, number in enumerate(sifted.numbers):
            without = by_number.get(number, ())
            if not self._intake.names(EventType(sifted.types[row]), languages[row], texts[row]):
                words[row], without = (), (*without, WORDS)
            if without:
                left_out[row] = without
        return left_out

    def _clean(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        now: datetime,
        sampled: float,
    ) -> tuple[PreparedEvents, dict[int, Refusal]]:
        """Give the events among the records, and why the others are none, by number."""
        refusals: dict[int, Refusal] = {}
        numbers: list[int] = []
        users: list[str] = []
        ranks: list[float] = []
        event_ids: list[str] = []
        times: list[int] = []
        types: list[int] = []
        languages: list[str] = []
        texts: list[str] = []
        words: list[tuple[str, ...] | None] = []
        items: list[str | None] = []
        ratings: list[float | None] = []
        attributes: list[dict[str, str] | None] = []
        left_out: dict[int, tuple[str, ...]] = {}
        for number, (value, key) in enumerate(zip(values, keys, strict=True)):
            try:
                event, without = self._intake.sift(value, key, now)
                _, text = words_of(event.text, event.item_title)
                place = rank(event.user_id)
                language, cut = self._told(event, text, place, sampled)
                if not self._intake.names(event.type, language, text):
                    cut, without = (), (*without, WORDS)
                time, code = event.microseconds, _CODES[event.type.value]
            except RefusedError as error:
                refusals[number] = error.refusal
                continue
            except Exception as error:
                refusals[number] = self._faults.refusal(error)
                continue
            if without:
                left_out[len(numbers)] = without
            numbers.append(number)
            users.append(event.user_id)
            ranks.append(place)
            event_ids.append(event.event_id)
            times.append(time)
            types.append(code)
            languages.append(language)
            texts.append(text)
            words.append(cut)
            items.append(event.item_id)
            ratings.append(event.rating)
            attributes.append(event.attributes)
        events = PreparedEvents(
            numbers=np.array(numbers, np.int64),
            users=users,
            ranks=np.array(ranks, np.float64),
            event_ids=event_ids,
            hashes=hash_event_ids(event_ids),
            times=np.array(times, np.int64),
            types=np.array(types, np.uint8),
            languages=languages,
            texts=texts,
            words=words,
            items=items,
            ratings=ratings,
            attributes=attributes,
            left_out=left_out,
        )
        return events, refusals

    def _told(
        self, event: SiftedEvent, text: str, place: float, sampled: float
    ) -> tuple[str, tuple[str, ...] | None]:
        """Give the language of a text, as far as that is wanted, and its words if they are."""
        kept = place <= sampled
        language = detect_language(
            text, event.language, detect=kept or place <= self._language_share
        )
        return language, tuple(tokenize(text, language)) if kept else None

    def _tokenise_apart(
        self, tokeniser: Tokenise, events: PreparedEvents, refusals: dict[int, Refusal]
    ) -> Cleaned:
        """Tokenise all texts but those that fail, which are refused."""
        good: list[int] = []
        for row, text in enumerate(events.texts):
            try:
                tokeniser([text])
            except Exception as error:
                refusals[int(events.numbers[row])] = self._faults.refusal(error)
            else:
                good.append(row)
        events = events.take(good)
        return Cleaned(events, refusals, tokeniser(events.texts))


def renumbered(cleaned: Cleaned, numbers: Sequence[int]) -> Cleaned:
    """Give what cleaning made of some of a batch's records the numbers that those have in it.

    Parameters
    ----------
    cleaned
        Of these records alone.
    numbers
        Their numbers in the batch, ascending.
    """
    places = np.array(numbers, np.int64)
    events = replace(cleaned.events, numbers=places[cleaned.events.numbers])
    refusals = {numbers[number]: refusal for number, refusal in cleaned.refusals.items()}
    return replace(cleaned, events=events, refusals=refusals)
