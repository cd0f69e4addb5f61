"""What users wrote, made ready: plain text for the model, a language, words for the report."""

from models.text.characters import LoneSurrogateError
from models.text.clean import clean, verbatim
from models.text.forms import alike, forms
from models.text.language import NOT_LOOKED_AT, UNDETERMINED, detect_language, detect_languages
from models.text.many import clean_all
from models.text.personal import is_personal_word, mask
from models.text.prepare import CleanText, cut_words, has_words, prepare_text
from models.text.scripts import SCRIPTS, count_letters, scripts_of
from models.text.tokens import MAX_CHARS, is_negation, tokenize
from models.text.traditional import chinese_script, to_simplified
from models.text.word_classes import names_or_describes

__all__ = [
    "MAX_CHARS",
    "NOT_LOOKED_AT",
    "SCRIPTS",
    "UNDETERMINED",
    "CleanText",
    "LoneSurrogateError",
    "alike",
    "chinese_script",
    "clean",
    "clean_all",
    "count_letters",
    "cut_words",
    "detect_language",
    "detect_languages",
    "forms",
    "has_words",
    "is_negation",
    "is_personal_word",
    "mask",
    "names_or_describes",
    "prepare_text",
    "scripts_of",
    "to_simplified",
    "tokenize",
    "verbatim",
]
