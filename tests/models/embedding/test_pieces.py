"""SentencePiece's way to keep a large vocabulary cuts texts as the tokenizer itself does."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from models.embedding.engine.chunks import Frame
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.engine.pieces import PieceTokenizer
from models.embedding.engine.tokenising import unknown_token
from models.embedding.errors import DamagedFileError
from models.embedding.making import pieces as making
from models.embedding.making.export import export_model
from models.embedding.making.pieces import write_pieces
from tests.models.embedding.small_encoders import BGE, E5, TEXTS, sentence_pieces

NAMES = ("pieces.model", "pieces.json")


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "LARGE_VOCABULARY", 2)


def split_at_spaces() -> Tokenizer:
    """As the checkpoints of XLM-R have it; the small encoders' is as it is converted today."""
    tokenizer = sentence_pieces()
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


@pytest.fixture(scope="module", params=[sentence_pieces, split_at_spaces])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, PieceTokenizer]:
    """The same vocabulary in the two ways."""
    folder, tokenizer = tmp_path_factory.mktemp("pieces"), request.param()
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "LARGE_VOCABULARY", 2)
        assert write_pieces(folder) == NAMES
    return tokenizer, PieceTokenizer.load(folder)


@settings(max_examples=200, deadline=None)
@given(
    st.text(
        st.sampled_from("greatcoffee 物流很é\u0301▁\t\n\x1c\x85\u3000½\uff5e龘A.<s>/")
        | st.characters(codec="utf-8")
    )
)
@example("")
@example(" a  great   coffee ")
@example("▁great ▁▁ coffee")
def test_any_text_has_the_same_tokens(both: tuple[Tokenizer, PieceTokenizer], text: str) -> None:
    tokenizer, small = both
    for special in (True, False):
        expected = tokenizer.encode(text, add_special_tokens=special)
        actual = small.encode(text, add_special_tokens=special)
        assert actual.ids == expected.ids
        assert actual.special_tokens_mask == expected.special_tokens_mask


def test_a_token_has_the_same_number(both: tuple[Tokenizer, PieceTokenizer]) -> None:
    tokenizer, small = both
    for token in ("<s>", "<unk>", "▁coffee", "坏", "[UNK]", "nothing of it"):
        assert small.token_to_id(token) == tokenizer.token_to_id(token)
    assert unknown_token(small) == unknown_token(tokenizer) == 3


def test_what_stands_around_a_text_is_the_same(both: tuple[Tokenizer, PieceTokenizer]) -> None:
    one, other = (Frame.of(tokenizer, 64, "query: ") for tokenizer in both)
    assert (one.head.tolist(), one.tail.tolist()) == (other.head.tolist(), other.tail.tolist())
    assert one.prefix.tolist() == other.prefix.tolist()


def test_a_model_is_cut_by_it_here_and_in_other_processes(tmp_path: Path) -> None:
    export_model(str(E5.write(tmp_path)), tmp_path / "out", precision="int8")
    with OnnxEmbedder.load(tmp_path / "out", device="cpu") as embedder:
        assert set(NAMES) < set(embedder.manifest.files)
        tokeniser = pickle.loads(pickle.dumps(embedder.recipe)).load()
        expected = [E5.tokenizer().encode(f"query: {text}").ids for text in TEXTS]
        assert [row.tolist() for row in tokeniser(TEXTS).inputs.rows()] == expected
    (tmp_path / "out" / "pieces.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"pieces\.json has SHA-256"):
        OnnxEmbedder.load(tmp_path / "out", device="cpu")


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "pieces.model").write_bytes(b"no model")
    (tmp_path / "pieces.json").write_text(
        json.dumps({"normalizer": None, "split": True, "head": [], "tail": []}), encoding="utf-8"
    )
    with pytest.raises(DamagedFileError, match=r"pieces\.model or pieces\.json beside it"):
        PieceTokenizer.load(tmp_path)


def test_vocabularies_of_another_kind_stay_as_they_are(tmp_path: Path) -> None:
    BGE.tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert write_pieces(tmp_path) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["model"].update(unk_id=None),
        lambda content: content["model"]["vocab"].append(["▁two▁words", -1.0]),
        lambda content: content["pre_tokenizer"].update(prepend_scheme="never"),
        lambda content: content["added_tokens"].append(
            {
                "id": 5,
                "content": "coffee",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": True,
                "special": False,
            }
        ),
    ],
    ids=["no unknown", "several words", "no first mark", "a word of its own"],
)
def test_what_it_could_not_do_alike_is_left_alone(change, tmp_path: Path) -> None:
    content = json.loads(sentence_pieces().to_str())
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert write_pieces(tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_vocabulary_that_is_not_large_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "LARGE_VOCABULARY", 100_000)
    sentence_pieces().save(str(tmp_path / "tokenizer.json"))
    assert write_pieces(tmp_path) == ()
