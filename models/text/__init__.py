"""What users wrote, made ready: plain text for the model, a language, words for the report."""

from models.text.characters import LoneSurrogateError
from models.text.clean import clean, verbatim
from models.text.language import UNDETERMINED, detect_language
from models.text.prepare import CleanText, prepare_text
from models.text.tokens import NEGATIONS, tokenize

__all__ = [
    "NEGATIONS",
    "UNDETERMINED",
    "CleanText",
    "LoneSurrogateError",
    "clean",
    "detect_language",
    "prepare_text",
    "tokenize",
    "verbatim",
]
