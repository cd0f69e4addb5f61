"""The one call of the pipeline: a raw text in, all that later stages need of it out."""

from dataclasses import dataclass

from models.text.characters import LETTER
from models.text.clean import clean
from models.text.language import detect_language
from models.text.tokens import tokenize


@dataclass(frozen=True, slots=True)
class CleanText:
    """A text as later stages see it.

    Attributes
    ----------
    text : str
        For the model: plain, in NFKC, with its case and its stop words. Empty if no words were
        left.
    language : str
        Primary language code, or ``und``.
    tokens : tuple of str
        For the typical words of segments.
    """

    text: str
    language: str
    tokens: tuple[str, ...]

    @property
    def has_words(self) -> bool:
        """Whether there is a letter of any script: digits, punctuation and emoji say nothing."""
        return LETTER.search(self.text) is not None


def prepare_text(raw: str, hint: str | None = None) -> CleanText:
    """Clean a text, tell its language and cut it into words.

    Parameters
    ----------
    raw : str
        The text as received, see `clean`.
    hint : str, optional
        The language that the event names, see `detect_language`.

    Raises
    ------
    LoneSurrogateError
        If the text cannot be written as UTF-8.
    """
    text = clean(raw)
    language = detect_language(text, hint)
    return CleanText(text, language, tuple(tokenize(text, language)))
