"""The model `both`: what its vectors are made of, and what they rest on."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from consumer.settings import Settings
from consumer.wiring.embedder import load_embedder, make_models
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import UnsupportedModelError, WordsNotFittedError
from models.embedding.making.fit_words import FitOptions, fit_words
from models.embedding.making.prepare import prepare_model
from models.embedding.words.both import BothEmbedder, Joined
from models.embedding.words.embedder import WordsEmbedder
from tests.models.embedding.tiny_bert import TinyBert

SAID = ("the phone broke late", "great coffee, not late", "跑鞋 马拉松 配速")
TEXTS = [f"{SAID[n % 3]} {n}" for n in range(150)]
PROBES = ["the phone broke", "跑鞋 配速", "zyzzyva", "great coffee"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("both")
    words = folder / "words"
    fit_words(TEXTS, words, FitOptions(dimensions=4))
    return prepare_model(str(TinyBert.write(folder / "bert").folder), cache=folder), words


def both(
    folders: tuple[Path, Path], weight: float = 0.3, **language_weights: float
) -> BothEmbedder:
    encoder, words = OnnxEmbedder.load(folders[0]), WordsEmbedder.load(folders[1])
    return BothEmbedder(encoder, words, weight=weight, language_weights=language_weights)


def test_the_cosine_is_a_weighted_mean_of_both(folders: tuple[Path, Path]) -> None:
    with both(folders, 0.3) as joined, OnnxEmbedder.load(folders[0]) as encoder:
        vectors = joined.embed(PROBES)
        parts = encoder.embed(PROBES), WordsEmbedder.load(folders[1]).embed(PROBES)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(PROBES), joined.dimensions) == (4, 32 + 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    of_encoder, of_words = parts[0][0] @ parts[0][3], parts[1][0] @ parts[1][3]
    assert vectors[0] @ vectors[3] == pytest.approx(0.7 * of_encoder + 0.3 * of_words, abs=1e-5)


def test_a_text_without_a_known_word_has_the_encoders_vector_alone(
    folders: tuple[Path, Path],
) -> None:
    with both(folders) as joined, OnnxEmbedder.load(folders[0]) as encoder:
        found = joined.embed(["zyzzyva"])[0]
        np.testing.assert_array_equal(found[:32], encoder.embed(["zyzzyva"])[0])
    assert not found[32:].any()


def test_a_text_that_the_encoder_fails_on_has_no_vector(folders: tuple[Path, Path]) -> None:
    with both(folders) as joined:
        joined._encoder = SimpleNamespace(  # type: ignore[assignment]
            embed=lambda texts: np.full((len(texts), 32), np.nan, np.float32), close=lambda: None
        )
        assert np.isnan(joined.embed(["great coffee"])).all()


def test_a_language_may_have_a_weight_of_its_own(folders: tuple[Path, Path]) -> None:
    with both(folders, 0.3, zh=0.8) as joined:
        vectors = joined.embed(PROBES)
    squares = (vectors[:, 32:].astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, [0.3, 0.8, 0, 0.3], atol=1e-5)


def test_no_text_changes_the_vector_of_another(folders: tuple[Path, Path]) -> None:
    with both(folders, 0.3, zh=0.8) as joined:
        together = joined.embed(PROBES)
        alone = [joined.embed([text])[0] for text in PROBES]
    np.testing.assert_array_equal(together, alone)


def test_all_that_changes_vectors_changes_the_identity(folders: tuple[Path, Path]) -> None:
    made = [both(folders), both(folders, 0.4), both(folders, 0.3, zh=0.8)]
    again = both(folders)
    assert len({each.identity for each in made}) == 3
    assert again.identity == made[0].identity
    for each in (*made, again):
        each.close()


@pytest.mark.parametrize("language_weights", [{}, {"zh": 0.8}])
def test_vectors_and_counts_do_not_depend_on_where_texts_are_tokenised(
    folders: tuple[Path, Path], language_weights: dict[str, float]
) -> None:
    with both(folders, **language_weights) as here, both(folders, **language_weights) as there:
        tokenise = pickle.loads(pickle.dumps(there.recipe)).load()
        for batch in (PROBES, [PROBES[1], "great coffee", PROBES[1]], []):
            sent = pickle.loads(pickle.dumps(tokenise(batch), protocol=5))
            expected = here.embed(batch)
            np.testing.assert_array_equal(there.embed_tokens(sent), expected)
        assert there.totals == here.totals
        assert there.totals.tokens > 0
        # Parts are tried where one text is to blame.
        tokens, expected = tokenise(PROBES), here.embed(PROBES)
        for part in (slice(0, 2), slice(1, 4), slice(3, 4), slice(2, 2)):
            np.testing.assert_array_equal(there.embed_tokens(tokens[part]), expected[part])
        with pytest.raises(TypeError, match="4 texts were tokenised for one of two"):
            there.embed_tokens(here._encoder._tokenise(PROBES))  # type: ignore[attr-defined]


def test_without_either_recipe_texts_are_tokenised_where_they_are_embedded(
    folders: tuple[Path, Path],
) -> None:
    encoder, words = OnnxEmbedder.load(folders[0]), WordsEmbedder.load(folders[1])
    words._folder = None
    with BothEmbedder(encoder, words, weight=0.5, language_weights={}) as joined:
        assert joined.recipe is None


def test_what_it_reads_is_what_either_reads() -> None:
    english = SimpleNamespace(name="a", precision="int8", reads=("en",))
    chinese = SimpleNamespace(name="words", precision="fp32", reads=("zh", "en"))
    assert Joined.of(english, chinese) == Joined("a and words", "int8", ("en", "zh"))
    assert Joined.of(SimpleNamespace(**{**vars(english), "reads": None}), chinese).reads is None


def test_it_is_loaded_as_the_settings_say(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "model": "both",
        "both": {"model": str(folders[0]), "words_weight": 0.3, "language_weights": {"zh": 0.8}},
        "words": {"folder": folders[1]},
    }
    settings = Settings(embedding=given)
    with load_embedder(settings) as embedder, both(folders, 0.3, zh=0.8) as expected:
        assert embedder.identity == expected.identity
        np.testing.assert_array_equal(embedder.embed(PROBES), expected.embed(PROBES))
        assert (embedder.totals.texts, embedder.totals.failed) == (len(PROBES), 0)
        assert embedder.watch is not None
    assert make_models(settings.embedding) == [folders[0], folders[1]]
    with pytest.raises(WordsNotFittedError):
        load_embedder(Settings(embedding={**given, "words": {"folder": tmp_path / "none"}}))
    of_words = {**given, "both": {"model": str(folders[1])}}
    with pytest.raises(UnsupportedModelError, match=r"embedding\.both\.model"):
        load_embedder(Settings(embedding=of_words))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"model": "words"}, "words is no encoder"),
        ({"model": "both"}, "both is no encoder"),
        ({"language_weights": {"de": 0.5}}, "'de' is none of the languages told at a glance"),
        ({"language_weights": {"zh": 1.5}}, "less than 1"),
        ({"words_weight": 0}, "greater than 0"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(embedding={"both": given})
