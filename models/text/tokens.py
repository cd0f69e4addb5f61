"""The words of a text that can tell what a segment is about."""

import functools
import re
import string
from collections.abc import Callable

import regex

from models.text.language import UNDETERMINED
from models.text.leftovers import without_leftovers
from models.text.traditional import to_simplified

MAX_CHARS = 2_000
"""Characters of a text whose words count: no single text should decide a segment's words."""

MAX_WORD_LETTERS = 30
"""Longer words are keys, paths or scripts written without spaces that nothing here can cut."""

MAX_CODE_LETTERS = 12
"""Words with digits in them that are longer are hashes and addresses, not names of products."""

MOST_SWITCHES = 3
"""Between letters and digits, in the name of a product as wh1000xm4; ids have more."""

MOST_DIGITS = 5
"""Digits in a word of letters and digits; with more it is the number of a passport or a plate."""

# Where a missing number was written as a text.
_NO_WORDS = frozenset(("nan",))
_SWITCH = re.compile(r"(?<=\d)[^\W\d]|(?<=[^\W\d])\d")

# "not good" and "good" are two things to say, so these stay where the lists call them stop words.
# French "ne" and its like come with a second word that carries the negation.
_NEGATIONS = {
    "de": "kein keine keinem keinen keiner keines nein nicht nichts nie niemals ohne",
    "en": "cannot never no nobody none nor not nothing without",
    "es": "jamás nada ni ninguna ninguno no nunca sin",
    "fr": "aucun aucune jamais non pas rien sans",
    "it": "mai nessun nessuna nessuno niente no non nulla senza",
    "nl": "geen nee niet niets nooit zonder",
    "pt": "jamais nada nem nenhum nenhuma nunca não sem",
    "ru": "без не нет ни никогда ничего",
    "zh": "不 不会 不是 不能 不要 别 勿 无 未 未必 毋 沒 没 没有 甭 莫 非",
}

NEGATIONS = frozenset(word for words in _NEGATIONS.values() for word in words.split())
"""Every language's words of negation: worth counting in a text, never what a group is about."""


def is_negation(word: str) -> bool:
    """Tell whether a word is one of `NEGATIONS`, in Chinese in either script."""
    return word in NEGATIONS or (
        word[:1] >= "\u2e80" and word.translate(to_simplified()) in NEGATIONS
    )


# Languages whose Latin words are mostly English; nothing is known of an undetermined text, and
# English is then the best guess.
_WITH_ENGLISH = frozenset(("ja", "ko", "zh", UNDETERMINED))
_ELIDING = frozenset(("ca", "fr", "it", "oc"))
_ENGLISH_ENDINGS = frozenset(("d", "ll", "m", "re", "s", "ve"))

_APOSTROPHES = "\u2018\u2019\u02bc\u00b4`"
# No part of any word, and often all that keeps a text from being ASCII.
_PUNCTUATION = "\u201c\u201d\u2013\u2014\u2026"

# Hosts with a path, files in folders, and URLs of schemes that `clean` leaves alone; what each has.
_PATH = re.compile(r"(?<![!-~])[!-~]*?(?:://|\.[a-z]{2,}[/\\])[!-~]*")
_PATH_SIGN = re.compile(r"://|\.[a-z]{2,}[/\\]")

# Runs of Chinese characters, runs of katakana, and words. Words may hold marks (without these the
# vowel signs of Hindi or Thai would end one), apostrophes and underscores, and begin with what says
# that it is none: ``@`` before a person, a backslash before a command of TeX.
_LETTERS = r"[\w--[\p{Han}\p{Hiragana}\p{Katakana}ー]]"
_WORD = regex.compile(
    rf"\p{{Han}}++|[\p{{Katakana}}ー]++|[@\\]?[{_LETTERS}--\p{{M}}]{_LETTERS}*+(?:'{_LETTERS}++)*+",
    regex.V1,
)
# The same for ASCII.
_ASCII_WORD = re.compile(r"[@\\]?\w++(?:'\w++)*+", re.ASCII)
# What may be in a word of ASCII stays, all else becomes a space. Where none of the marks is in what
# stands between two spaces, that is one word.
_MARKS = "'@\\"
_KEPT_ASCII = f"{string.ascii_letters}{string.digits}_{_MARKS}"
_SPACED = "".join(chr(code) if chr(code) in _KEPT_ASCII else " " for code in range(128)).encode()
_SPACED += bytes(128)
_SINGLE = frozenset(f"{string.ascii_lowercase}{string.digits}_{_MARKS}")

_HAN = regex.compile(r"\p{Han}")


def tokenize(text: str, language: str, max_chars: int = MAX_CHARS) -> list[str]:
    """Cut a text into case-folded words, without stop words, numbers, people, ids and debris.

    Negations stay: ``don't`` and its like become ``not``. Chinese words are found by jieba in both
    scripts and keep the script they are written in, Latin words among them included. Of Japanese,
    which no dependency cuts, the runs of kanji and of katakana are taken, and the grammar between
    them, in hiragana, is not. Languages written without any such boundary, as Thai is, yield only
    their short phrases.

    Parameters
    ----------
    text : str
        Clean text, in NFKC.
    language : str
        What `detect_language` gave. Decides the stop words and how Chinese characters are cut.
    max_chars : int
        How much of the text is considered. A word that is cut off there does not count.

    Returns
    -------
    list of str
        In the order of the text, as often as they occur. Chinese words in traditional characters
        and in simplified ones are different words.
    """
    if len(text) > max_chars:
        text = _up_to_a_word_end(text, max_chars)
    if not text.isascii():
        for mark in _APOSTROPHES:
            text = text.replace(mark, "'")
        for mark in _PUNCTUATION:
            text = text.replace(mark, " ")
    text = without_leftovers(text.replace("`", "'").casefold())
    if ("/" in text or "\\" in text) and _PATH_SIGN.search(text):
        text = _PATH.sub(" ", text)
    return _ascii_words(text, language) if text.isascii() else _words(text, language)


def _ascii_words(text: str, language: str) -> list[str]:
    stop, dropped = _stop_words(language), _dropped_ascii(language)
    spaced = text.encode().translate(_SPACED).decode()
    words = [word for word in spaced.split() if word not in dropped]
    if "".join(words).isalpha():
        return [word for word in words if len(word) <= MAX_WORD_LETTERS]
    kept: list[str] = []
    for word in words:
        if word.isalpha():
            if len(word) <= MAX_WORD_LETTERS:
                kept.append(word)
        elif word.isalnum():
            if not _is_debris(word):
                kept.append(word)
        else:
            for part in _ASCII_WORD.findall(word):
                plain = _plain_form(part, language) if "'" in part else part
                if len(plain) > 1 and plain not in stop and not _is_debris(plain):
                    kept.append(plain)
    return kept


def _words(text: str, language: str) -> list[str]:
    stop = _stop_words(language)
    words: list[str] = []
    for word in _WORD.findall(text):
        plain = _plain_form(word, language) if "'" in word else word
        if plain in stop:
            continue
        if plain[0] < "\u2e80":
            if len(plain) > 1 and not _is_debris(plain):
                words.append(plain)
        elif language != "ja" and ("\u4e00" <= plain[0] <= "\u9fff" or _HAN.match(plain)):
            _add_chinese_words(plain, words)
        elif len(plain) <= MAX_WORD_LETTERS:
            words.append(plain)
    return words


def _up_to_a_word_end(text: str, max_chars: int) -> str:
    """Cut at the last space within a word's length of the end, or at the end: Chinese has none."""
    near = max(0, max_chars - MAX_WORD_LETTERS)
    space = max(text.rfind(" ", near, max_chars + 1), text.rfind("\n", near, max_chars + 1))
    return text[: max_chars if space < 0 else space]


def _plain_form(word: str, language: str) -> str:
    """Resolve an apostrophe: don't is a negation, beer's is beer, l'amour is amour."""
    if word.endswith("n't"):
        return "not"
    head, _, tail = word.rpartition("'")
    if tail in _ENGLISH_ENDINGS:
        return head
    return tail if language in _ELIDING else word


def _is_debris(word: str) -> bool:
    if len(word) > MAX_WORD_LETTERS:
        return True
    if word.isalpha():
        return False
    if word.isnumeric() or word[0] in "@\\" or "_" in word:
        return True
    if not any(letter.isdigit() for letter in word):
        return False
    if sum(map(str.isdigit, word)) > MOST_DIGITS:
        return True
    return len(word) > MAX_CODE_LETTERS or len(_SWITCH.findall(word)) > MOST_SWITCHES


def _add_chinese_words(run: str, words: list[str]) -> None:
    stop = _stop_words("zh")
    start = 0
    for folded in _chinese_cutter()(run.translate(to_simplified())):
        end = start + len(folded)
        if folded not in stop:
            words.append(run[start:end])
        start = end


@functools.cache
def _stop_words(language: str) -> frozenset[str]:
    """Give the words of a language that say nothing by themselves, in simplified Chinese for zh."""
    from stopwordsiso import stopwords  # noqa: PLC0415  (0.7 MB of lists)

    words = {word.casefold() for word in stopwords(language)}
    words |= _NO_WORDS
    words -= set(_NEGATIONS.get(language, "").split())
    if language in _WITH_ENGLISH:
        words |= _stop_words("en")
    return frozenset(words)


@functools.cache
def _dropped_ascii(language: str) -> frozenset[str]:
    """Give the stop words that are no more than letters and digits, and what is one character."""
    return _SINGLE | {word for word in _stop_words(language) if word.isalnum()}


@functools.cache
def _chinese_cutter() -> Callable[[str], list[str]]:
    """Give jieba's cut; imported late, as its dictionary takes 0.1 s to load."""
    from rjieba import cut  # noqa: PLC0415

    return cut
