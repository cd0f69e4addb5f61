import struct
from pathlib import Path

import numpy as np
import pytest

from models.embedding.errors import DamagedFileError, MissingFileError, UnsupportedModelError
from models.embedding.making.pretrained import read_config, read_tensors
from models.embedding.model_files import source_digests, verify_files
from tests.models.embedding.tiny_bert import MAX_TOKENS, POSITIONS, TinyBert, write_safetensors


def test_the_settings_of_a_checkpoint_are_read_from_all_its_files(tiny_bert: TinyBert) -> None:
    config = read_config(tiny_bert.folder)
    assert (config.hidden, config.layers, config.heads, config.intermediate) == (32, 2, 4, 64)
    assert (config.max_tokens, config.pooling, config.normalise) == (MAX_TOKENS, "mean", True)


def test_a_plain_checkpoint_is_pooled_by_the_mean_up_to_its_last_position(
    tiny_bert: TinyBert,
) -> None:
    (tiny_bert.folder / "modules.json").unlink()
    (tiny_bert.folder / "sentence_bert_config.json").unlink()
    config = read_config(tiny_bert.folder)
    assert (config.max_tokens, config.pooling, config.normalise) == (POSITIONS, "mean", False)


def test_a_limit_beyond_the_positions_is_lowered_to_them(tiny_bert: TinyBert) -> None:
    tiny_bert.write_json("sentence_bert_config.json", {"max_seq_length": 10_000})
    assert read_config(tiny_bert.folder).max_tokens == POSITIONS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "distilbert"),
        ("hidden_act", "gelu_new"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("num_attention_heads", 5),
        ("num_hidden_layers", 0),
        ("hidden_size", None),
    ],
)
def test_an_architecture_that_would_come_out_wrong_is_refused(
    field: str, value: object, tiny_bert: TinyBert
) -> None:
    tiny_bert.write_config(**{field: value})
    with pytest.raises(UnsupportedModelError, match=f"{field}.* {value!r}"):
        read_config(tiny_bert.folder)


def test_a_module_after_pooling_is_refused_unless_it_normalises(tiny_bert: TinyBert) -> None:
    kinds = ("Transformer", "Pooling", "Dense")
    tiny_bert.write_json("modules.json", [{"type": f"st.models.{kind}"} for kind in kinds])
    with pytest.raises(UnsupportedModelError, match=r"modules\.json lists Dense"):
        read_config(tiny_bert.folder)


@pytest.mark.parametrize("modes", [["max_tokens"], ["mean_tokens", "cls_token"], []])
def test_only_one_known_way_of_pooling_is_accepted(modes: list[str], tiny_bert: TinyBert) -> None:
    settings = {f"pooling_mode_{mode}": True for mode in modes}
    tiny_bert.write_json("1_Pooling/config.json", settings)
    with pytest.raises(UnsupportedModelError, match=r"1_Pooling/config\.json asks for"):
        read_config(tiny_bert.folder)


def test_a_missing_or_broken_setting_file_is_named(tiny_bert: TinyBert) -> None:
    (tiny_bert.folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamagedFileError, match=r"config\.json is not valid JSON"):
        read_config(tiny_bert.folder)
    (tiny_bert.folder / "config.json").unlink()
    with pytest.raises(MissingFileError, match=r"config\.json is missing"):
        read_config(tiny_bert.folder)


def test_tensors_of_every_float_type_are_read_as_float32(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    values = np.array([[1.5, -2.0, 0.0], [3.25, 1024.0, -0.5]])
    bfloat16 = (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    write_safetensors(
        path,
        {
            "single": ("F32", [2, 3], values.astype("<f4").tobytes()),
            "half": ("F16", [2, 3], values.astype("<f2").tobytes()),
            "brain": ("BF16", [2, 3], bfloat16.tobytes()),
            "double": ("F64", [2, 3], values.astype("<f8").tobytes()),
            "ids": ("I64", [3], np.arange(3).tobytes()),
        },
    )
    tensors = read_tensors(path)
    assert list(tensors) == ["single", "half", "brain", "double"]
    for tensor in tensors.values():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:40],
        lambda data: data[:-10],
        lambda data: struct.pack("<Q", 1 << 60) + data[8:],
        lambda data: data[:8] + b"x" + data[9:],
    ],
    ids=["empty", "no-header", "half-a-header", "half-a-body", "wild-length", "not-json"],
)
def test_a_damaged_weights_file_is_refused(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"w": ("F32", [4, 4], bytes(64))})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFileError, match="not a whole safetensors file"):
        read_tensors(path)


def test_a_checkpoint_without_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="only weights in safetensors form"):
        read_tensors(tmp_path / "model.safetensors")


def test_files_are_checked_against_their_digests(tiny_bert: TinyBert) -> None:
    digests = source_digests(tiny_bert.folder)
    assert len(digests) == 6
    verify_files(tiny_bert.folder, digests)
    tiny_bert.write_config(vocab_size=7)
    with pytest.raises(DamagedFileError, match=r"config\.json has SHA-256"):
        verify_files(tiny_bert.folder, digests)
    (tiny_bert.folder / "tokenizer.json").unlink()
    with pytest.raises(MissingFileError, match=r"tokenizer\.json is missing"):
        source_digests(tiny_bert.folder)
