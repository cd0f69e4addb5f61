"""From a folder or from topics to the file: what `segmenter report` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from consumer.offline.files import event_file, read_records, spooled
from consumer.offline.files.errors import name_of
from consumer.offline.texts import KeyedValue
from consumer.page.compose import Asked, compose
from consumer.page.events import EventsSeen, read_events
from consumer.page.folder import check_is_replay, gather_folder
from consumer.page.gathered import Gathered
from consumer.page.items import as_data
from consumer.page.render import render
from consumer.page.told import TEXTS, typical_texts
from consumer.page.topics import TopicsReader, with_languages
from consumer.page.typical import nearest_texts, nearest_users
from consumer.settings import Settings
from models.embedding.runner_types import Embedder
from models.text import mask
from schemas.arrays import decode_array

_NO_INPUT = "the events of the replay were not given: name their file with --input."
_LANGUAGES = 2_000


@dataclass(frozen=True, slots=True)
class PageWriter:
    """Writes one page.

    Attributes
    ----------
    settings
        Of the group, and what may be shown.
    asked
        What the page is to be like.
    output
        The file; its folder is made where there is none.
    progress
        Told the number of events read.
    data
        A file for segments with their items, and for how they are related, as JSON; None for none.
    """

    settings: Settings
    asked: Asked
    output: Path
    progress: Callable[[int], None] = lambda _: None
    data: Path | None = None

    def of_folder(self, folder: Path, events: Path | None) -> str:
        """Write the page of a replay; give a sentence on it.

        Raises
        ------
        UsageError
            If the folder is no replay's.
        ExpectedError
            If a file cannot be read or written.
        """
        check_is_replay(folder)
        found = gather_folder(folder)
        if events is None:
            notes = {**dict.fromkeys(("texts", "ratings"), _NO_INPUT), **found.notes}
            return self._write(replace(found, notes=notes), None, {})
        intake = self.settings.events.intake()
        shown = self.settings.report.texts
        typical = found.details.typical if found.details and shown else ()
        with spooled(events) as kept:
            records = read_records(event_file(kept, intake, name_of(events)), "", intake)
            wanted = {(each.user_id, each.event_id) for each in typical}
            seen = self._read(found, records, wanted=wanted)
        return self._write(found, seen, typical_texts(found, seen))

    def of_topics(self, most_events: int, embedder: Callable[[], Embedder]) -> str:
        """Write the page of a group; give a sentence on it.

        Parameters
        ----------
        most_events
            Of the input, the latest.
        embedder
            Makes the embedding model ready; asked where texts are to be shown only.

        Raises
        ------
        TopicError, ExpectedError
            If the topics cannot be read.
        """
        reader = TopicsReader(self.settings)
        found = reader.gather()
        note = f"Types, languages, lengths and ratings are of the latest {most_events:,} records."
        found = replace(found, notes={**found.notes, "input": note})
        segments = [] if found.model is None else found.model.segments
        centres = {each.id: decode_array(each.centre, "<f8").astype(float) for each in segments}
        users = found.users
        near = (
            nearest_users(centres, users.ids, users.vectors, users.segments)
            if self.settings.report.texts
            else {}
        )
        writers = {user for group in near.values() for user in group}
        records = reader.latest_events(most_events)
        seen = self._read(found, records, writers=writers, languages=_LANGUAGES)
        texts = nearest_texts(centres, near, seen.recent, embedder(), TEXTS) if near else {}
        return self._write(with_languages(found, seen.languages), seen, texts)

    def _read(
        self,
        found: Gathered,
        records: Iterable[KeyedValue],
        *,
        wanted: set[tuple[str, str]] | None = None,
        writers: set[str] | None = None,
        languages: int = 0,
    ) -> EventsSeen:
        return read_events(
            records,
            self.settings,
            found.users,
            label=self.asked.label,
            wanted=wanted or (),
            writers=writers or (),
            languages=languages,
            progress=self.progress,
        )

    def _write(self, found: Gathered, seen: EventsSeen | None, texts: dict[int, list[str]]) -> str:
        # What is quoted for its words need not tell who wrote it.
        texts = {segment: [mask(text) for text in own] for segment, own in texts.items()}
        page = compose(found, self.settings.report, self.asked, seen=seen, texts=texts)
        html = render(page)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(html, encoding="utf-8")
        if self.data is not None:
            users = {card.id: card.users for card in page.cards}
            data = as_data(found.names, users, found.recommendations, page.related)
            text = json.dumps(data, ensure_ascii=False, indent=1) + "\n"
            self.data.parent.mkdir(parents=True, exist_ok=True)
            self.data.write_text(text, encoding="utf-8")
        return f"{page.title}: written to {self.output}"
