"""Texts that are tokenised elsewhere: the vectors are the same, bit for bit."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.embedding.engine.chunks import Frame, cut_text, cut_texts
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.tokenising import TextTokeniser, TokeniserRecipe
from models.embedding.errors import DamagedFileError, UnusableTextError
from models.embedding.making.prepare import prepare_model
from models.embedding.tokens import Tokens
from models.text import count_letters
from tests.models.embedding.tiny_bert import MAX_TOKENS, PLAIN, TinyBert, tiny_tokenizer

texts = st.lists(
    st.lists(st.sampled_from(PLAIN), min_size=1, max_size=50).map(" ".join), max_size=8
)
OPTIONS = [{}, {"long_texts": "chunk", "max_chunks": 2}, {"cache_texts": 3}]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return prepare_model(str(TinyBert.write(folder / "bert").folder), cache=folder)


def sent(tokens: Tokens) -> Tokens:
    """The tokens as another process gets them."""
    return pickle.loads(pickle.dumps(tokens, protocol=5))


def recipe_of(embedder: OnnxEmbedder) -> TokeniserRecipe:
    assert embedder.recipe is not None
    return pickle.loads(pickle.dumps(embedder.recipe))


@pytest.mark.parametrize("options", OPTIONS, ids=["truncate", "chunk", "cache"])
def test_vectors_and_counts_do_not_depend_on_where_texts_are_tokenised(
    tiny_folder: Path, options: dict[str, object]
) -> None:
    with (
        OnnxEmbedder.load(tiny_folder, **options) as here,  # type: ignore[arg-type]
        OnnxEmbedder.load(tiny_folder, **options) as there,  # type: ignore[arg-type]
    ):
        tokeniser = recipe_of(there).load()
        long = " ".join(["late"] * 4 * MAX_TOKENS)
        for batch in (["great coffee", "!", "great coffee"], [long, "the phone broke", "!"], []):
            expected = here.embed(batch)
            np.testing.assert_array_equal(there.embed_tokens(sent(tokeniser(batch))), expected)
        assert there.totals == here.totals


@settings(max_examples=60, deadline=None)
@given(texts, st.data())
def test_a_part_of_the_tokens_is_what_the_part_of_the_texts_gives(
    words: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(words)))
    end = data.draw(st.integers(first, len(words)))
    recipe = TokeniserRecipe(Path(), {}, MAX_TOKENS, "", 3, b"secret")
    tokeniser = TextTokeniser.of(recipe, tiny_tokenizer())
    part, alone = tokeniser(words)[first:end], tokeniser(words[first:end])
    assert [part.keys[place] for place in part.places] == [alone.keys[p] for p in alone.places]
    assert sorted(part.keys) == sorted(alone.keys)
    kept, rows = iter(part.inputs.rows()), {}
    for key, count in zip(part.keys, part.inputs.counts, strict=True):
        rows[key] = [next(kept).tolist() for _ in range(count)]
    own = iter(alone.inputs.rows())
    for key, count in zip(alone.keys, alone.inputs.counts, strict=True):
        assert rows[key] == [next(own).tolist() for _ in range(count)]


@settings(max_examples=60, deadline=None)
@given(texts, st.sampled_from(["", "the : "]), st.integers(6, 30), st.integers(1, 4))
def test_texts_are_cut_together_as_each_is_alone(
    words: list[str], prefix: str, max_tokens: int, most: int
) -> None:
    tokenizer = tiny_tokenizer()
    frame = Frame.of(tokenizer, max_tokens, prefix)
    ids = [tokenizer.encode(prefix + text, add_special_tokens=False).ids for text in words]
    letters = count_letters(words)
    together = cut_texts(ids, frame, most, letters)
    np.testing.assert_array_equal(together.letters, letters)
    alone = [cut_text(np.array(each, np.int64), frame, most) for each in ids]
    rows = [row.tolist() for cut in alone for row in cut.rows]
    assert [row.tolist() for row in together.rows()] == rows
    assert together.weights.tolist() == [weight for cut in alone for weight in cut.weights]
    assert together.counts.tolist() == [len(cut.rows) for cut in alone]
    assert together.truncated.tolist() == [cut.truncated for cut in alone]


@pytest.mark.parametrize("text", ["", " \n", "a \ud800"], ids=["empty", "blank", "surrogate"])
def test_a_text_without_tokens_is_named_and_not_quoted(tiny_folder: Path, text: str) -> None:
    with OnnxEmbedder.load(tiny_folder) as embedder:
        with pytest.raises(UnusableTextError, match="text 1 of 2") as refused:
            recipe_of(embedder).load()(["great", text])
        assert "great" not in str(refused.value)


def test_a_tokenizer_that_has_changed_since_the_model_was_opened_is_refused(
    tmp_path: Path,
) -> None:
    folder = prepare_model(str(TinyBert.write(tmp_path / "bert").folder), cache=tmp_path)
    with OnnxEmbedder.load(folder) as embedder:
        tokenizer = folder / "tokenizer.json"
        tokenizer.write_text(tokenizer.read_text() + "\n")
        with pytest.raises(DamagedFileError, match=r"tokenizer\.json"):
            recipe_of(embedder).load()
