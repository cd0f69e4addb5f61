"""The demo's own model `words`, where that is asked for and none is named."""

from __future__ import annotations

from pathlib import Path

from consumer.contract.extras import need
from consumer.offline.texts import clean_texts
from consumer.settings import Settings
from consumer.tryout.demo.stream import Stream
from models.embedding.prepared import BOTH, WORDS

FOLDER = "words"
"""Of the output, where the model is fitted to."""


def with_words(settings: Settings, stream: Stream, output: Path) -> Settings:
    """Fit `words` on what the stream says, and give the settings that name it.

    A demo has no history but the stream itself. Nothing is done where the settings name a folder,
    or another model.

    Raises
    ------
    UsageError
        If the packages that fit it are not installed.
    ExportFailedError
        If the stream is too short for it.
    """
    embedding = settings.embedding
    if embedding.model not in {WORDS, BOTH} or embedding.words.folder is not None:
        return settings
    need("segmenter demo with embedding.model = words", "words")
    from models.embedding.making.fit_words import fit_words  # noqa: PLC0415 - loads ONNX

    folder = output.absolute() / FOLDER
    fit_words(clean_texts(stream.records(), settings, "the stream"), folder)
    words = embedding.words.model_copy(update={"folder": folder})
    return settings.changed("embedding", words=words)
