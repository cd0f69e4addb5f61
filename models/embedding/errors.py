"""What can go wrong with an embedding model, each as a type of its own."""

from pathlib import Path


class EmbeddingError(Exception):
    """Base of every refusal of this package; the message says what to do."""


class SourceUnavailableError(EmbeddingError):
    """The weights could not be had from where they were asked for."""


class ModelNotMadeError(EmbeddingError):
    """A model is to be run that nobody has made on this machine."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"the embedding model {source} is not ready on this machine: `segmenter model "
            "prepare`, with the same settings, makes it"
        )


class WordsNotFittedError(ModelNotMadeError):
    """The model `words` is to be run, and nobody has fitted one where it is looked for."""

    def __init__(self, folder: Path) -> None:
        EmbeddingError.__init__(
            self,
            f"there is no model `words` in {folder}: `segmenter model fit words` fits one on your "
            "own history, with embedding.words.folder as it is here",
        )


class MissingFileError(EmbeddingError):
    """A model folder lacks a file that it must have."""


class DamagedFileError(EmbeddingError):
    """A file is not what its hash or its format says."""


class UnsupportedModelError(EmbeddingError):
    """The model is of an architecture, or has a setting, that the exporter does not know."""


class UnfaithfulModelError(EmbeddingError):
    """The int8 model strays too far from its fp32 original to be used."""


class DeviceUnavailableError(EmbeddingError):
    """The device that was asked for is not there, or does not suit the model's precision."""


class UnusableTextError(EmbeddingError):
    """A text without an embedding: empty, or not valid Unicode. Told by its place, never quoted."""


class DeviceFailedError(EmbeddingError):
    """The device does not work any more: no text can be embedded until the process starts anew."""


class PrecisionMismatchError(EmbeddingError):
    """An exported model is of another precision than the one asked for."""


class OutputExistsError(EmbeddingError):
    """The folder to export to is there already, with something in it."""


class MissingPackageError(EmbeddingError):
    """An exporter needs packages that are not installed."""


class ExportFailedError(EmbeddingError):
    """An exporter gave up on a model, or made something that cannot be used."""
