"""The steps together: a raw text in, all that later stages need of it out.

A worker takes the steps one by one, as it needs the language of some texts only and the words of
fewer still.
"""

from dataclasses import dataclass

from models.text.characters import LETTER
from models.text.clean import clean
from models.text.language import NOT_LOOKED_AT, detect_language
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
        """Whether there is a letter, see `has_words`."""
        return has_words(self.text)


def has_words(text: str) -> bool:
    """Tell whether there is a letter of any script: digits, punctuation and emoji say nothing."""
    # `isalpha` knows no letter that \p{L} does not, and most texts begin with one.
    return text[:1].isalpha() or LETTER.search(text) is not None


def cut_words(text: str, language: str) -> tuple[str, ...]:
    """Cut a clean text into words as `tokenize` does, whether or not its language is known yet.

    Parameters
    ----------
    text
        What `clean` gave.
    language
        What `detect_language` gave, `NOT_LOOKED_AT` included: then the text is looked at here, so
        that its words are the same whenever they are asked for.
    """
    if language == NOT_LOOKED_AT:
        language = detect_language(text)
    return tuple(tokenize(text, language))


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
