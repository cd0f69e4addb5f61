import logging
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import DamagedFileError, UnsupportedModelError
from models.embedding.making.export import export_model
from models.embedding.text_settings import TextSettings, read_text_settings
from tests.models.embedding.small_encoders import word_pieces
from tests.models.embedding.tiny_bert import TinyBert

PROMPTS = "config_sentence_transformers.json"


def read(
    model: TinyBert, name: str = "tiny", positions: int | None = 24, prefix: str | None = None
) -> TextSettings:
    return read_text_settings(model.folder, name=name, positions=positions, pad_id=0, prefix=prefix)


def test_the_default_prompt_is_the_prefix(tiny_bert: TinyBert) -> None:
    prompts = {"query": "Frage: ", "passage": "Text: "}
    tiny_bert.write_json(PROMPTS, {"prompts": prompts, "default_prompt_name": "passage"})
    assert read(tiny_bert).prefix == "Text: "
    assert read(tiny_bert, prefix="").prefix == ""
    assert read(tiny_bert, prefix="mine: ").prefix == "mine: "


def test_prompts_of_which_none_is_the_default_are_not_used(tiny_bert: TinyBert) -> None:
    tiny_bert.write_json(PROMPTS, {"prompts": {"query": "Frage: "}, "default_prompt_name": None})
    assert read(tiny_bert).prefix == ""


def test_a_default_prompt_that_is_not_there_is_refused(tiny_bert: TinyBert) -> None:
    tiny_bert.write_json(PROMPTS, {"prompts": {}, "default_prompt_name": "query"})
    with pytest.raises(UnsupportedModelError, match=r"default_prompt_name = 'query'.*--prefix"):
        read(tiny_bert)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("multilingual-e5-small", "query: "),
        ("e5-base-v2", "query: "),
        ("E5-large-unsupervised", "query: "),
        ("multilingual-e5-large-instruct", ""),
        ("my-e5-small", ""),
        ("tiny-bert", ""),
    ],
)
def test_e5_is_known_by_its_name_and_that_is_logged(
    name: str, prefix: str, tiny_bert: TinyBert, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert read(tiny_bert, name).prefix == prefix
    assert ("asks for 'query: ' before every text" in caplog.text) == bool(prefix)


CARD = """---
license: mit
base_model: {}
model-index:
- name: {}
  results: []
---
# A model
"""


@pytest.mark.parametrize(
    ("own", "base", "called", "prefix"),
    [
        ("intfloat/multilingual-e5-small", "", "", "query: "),
        ("/somewhere/e5-base-v2/", "", "", "query: "),
        (None, "intfloat/multilingual-e5-base", "mine", "query: "),
        (None, "other/bert", "multilingual-e5-small", "query: "),
        (None, "other/bert", "mine", ""),
        (None, "", "multilingual-e5-large-instruct", ""),
        ("someone/tiny-bert", "", "", ""),
    ],
)
def test_e5_in_a_folder_of_any_name_is_known_by_what_its_files_call_it(
    own: str | None, base: str, called: str, prefix: str, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_config(_name_or_path=own)
    (tiny_bert.folder / "README.md").write_text(CARD.format(base, called), encoding="utf-8")
    assert read(tiny_bert, "downloaded").prefix == prefix
    assert read(tiny_bert, "downloaded", prefix="").prefix == ""


def test_what_may_be_e5_and_does_not_say_so_is_warned_of(
    tiny_bert: TinyBert, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bert.write_config(num_hidden_layers=12)
    tiny_bert.write_json("tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
    assert read(tiny_bert, "downloaded").prefix == ""
    assert "is built like multilingual-e5-small" in caplog.text
    assert "--prefix 'query: '" in caplog.text
    caplog.clear()
    assert read(tiny_bert, "downloaded", prefix="").prefix == ""
    assert read(tiny_bert, "multilingual-e5-small").prefix == "query: "
    tiny_bert.write_json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    assert read(tiny_bert, "downloaded").prefix == ""
    assert not caplog.text


def test_prompts_of_which_none_is_the_default_are_warned_of(
    tiny_bert: TinyBert, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bert.write_json(PROMPTS, {"prompts": {"query": "", "document": ""}})
    assert read(tiny_bert).prefix == ""
    assert not caplog.text
    tiny_bert.write_json(PROMPTS, {"prompts": {"query": "Frage: "}, "default_prompt_name": None})
    assert read(tiny_bert).prefix == ""
    assert "has the prompts 'Frage: '" in caplog.text


def test_a_prompt_of_e5s_own_comes_before_what_its_name_says(tiny_bert: TinyBert) -> None:
    tiny_bert.write_json(PROMPTS, {"prompts": {"p": "passage: "}, "default_prompt_name": "p"})
    assert read(tiny_bert, "multilingual-e5-small").prefix == "passage: "


def test_a_prefix_that_must_not_be_pooled_is_refused(tiny_bert: TinyBert) -> None:
    settings = {"pooling_mode": "mean", "include_prompt": False}
    tiny_bert.write_json("1_Pooling/config.json", settings)
    assert read(tiny_bert).prefix == ""
    with pytest.raises(UnsupportedModelError, match="include_prompt = false"):
        read(tiny_bert, prefix="query: ")


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
    ],
)
def test_the_pooling_is_read_in_the_old_format_and_the_new(
    settings: dict[str, object], pooling: str, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_json("1_Pooling/config.json", settings)
    assert read(tiny_bert).pooling == pooling


@pytest.mark.parametrize("mode", ["lasttoken", ["mean", "cls"], 7])
def test_another_pooling_is_refused(mode: object, tiny_bert: TinyBert) -> None:
    tiny_bert.write_json("1_Pooling/config.json", {"pooling_mode": mode})
    with pytest.raises(UnsupportedModelError, match=r"1_Pooling/config\.json asks for"):
        read(tiny_bert)


@pytest.mark.parametrize(
    ("own", "tokenizers", "positions", "expected"),
    [
        (16, 10, 24, 16),
        (None, 10, 24, 10),
        (None, 1e30, 24, 24),
        (None, None, 24, 24),
        (100, None, 24, 24),
        (100, None, None, 100),
    ],
)
def test_the_longest_input_is_the_models_own_within_its_positions(
    own: int | None,
    tokenizers: float | None,
    positions: int | None,
    expected: int,
    tiny_bert: TinyBert,
) -> None:
    tiny_bert.write_json("sentence_bert_config.json", {"max_seq_length": own})
    tiny_bert.write_json("tokenizer_config.json", {"model_max_length": tokenizers})
    assert read(tiny_bert, positions=positions).max_tokens == expected


def test_a_model_that_no_file_limits_is_refused(tiny_bert: TinyBert) -> None:
    tiny_bert.write_json("sentence_bert_config.json", {})
    with pytest.raises(UnsupportedModelError, match="no file says how many tokens"):
        read(tiny_bert, positions=None)


@pytest.mark.parametrize("limit", [0, -1, "many"])
def test_a_limit_that_is_none_is_refused(limit: object, tiny_bert: TinyBert) -> None:
    tiny_bert.write_json("sentence_bert_config.json", {"max_seq_length": limit})
    with pytest.raises(UnsupportedModelError, match=f"is given as {limit!r}"):
        read(tiny_bert)


@pytest.mark.parametrize(
    ("name", "content"),
    [("modules.json", {"type": "x"}), ("sentence_bert_config.json", []), (PROMPTS, "query")],
)
def test_a_file_of_another_form_is_refused(name: str, content: object, tiny_bert: TinyBert) -> None:
    tiny_bert.write_json(name, content)
    with pytest.raises(DamagedFileError, match=name):
        read(tiny_bert)


def test_texts_are_lower_cased_where_the_checkpoint_wants_it_and_the_tokenizer_does_not(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    cased = word_pieces(lower=False)
    vocabulary = {"vocab_size": cased.get_vocab_size()}
    tiny_bert.write_config(**vocabulary)
    words = np.random.default_rng(0).normal(size=(cased.get_vocab_size(), 32))
    tiny_bert.tensors["embeddings.word_embeddings.weight"] = words.astype(np.float32)
    tiny_bert.write_weights()
    cased.save(str(tiny_bert.folder / "tokenizer.json"))
    for lower in (False, True):
        settings = {"max_seq_length": 16, "do_lower_case": lower}
        tiny_bert.write_json("sentence_bert_config.json", settings)
        folder = tmp_path / f"lower-{lower}"
        export_model(str(tiny_bert.folder), folder, precision="fp32")
        with OnnxEmbedder.load(folder, device="cpu") as embedder:
            large, small = embedder.embed(["THE COFFEE", "the coffee"])
        assert np.array_equal(large, small) is lower


def test_a_tokenizer_that_lower_cases_by_itself_is_copied(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    settings = {"max_seq_length": 16, "do_lower_case": True}
    tiny_bert.write_json("sentence_bert_config.json", settings)
    export_model(str(tiny_bert.folder), tmp_path / "out", precision="fp32")
    own = (tiny_bert.folder / "tokenizer.json").read_bytes()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == own


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    tiny_bert: TinyBert, tmp_path: Path
) -> None:
    path = tiny_bert.folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["refund"])
    tokenizer.save(str(path))
    with pytest.raises(UnsupportedModelError, match=r"ids up to 16, but .* vocab_size = 16"):
        export_model(str(tiny_bert.folder), tmp_path / "out", precision="fp32")
