from pathlib import Path

import pytest

from models.embedding.making.prepare import prepare_model
from tests.models.embedding.tiny_bert import TinyBert


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The default model in int8, from the user's cache, made when it is not there."""
    return prepare_model("default")


@pytest.fixture(scope="session")
def exact_model_folder() -> Path:
    """The default model in fp32."""
    return prepare_model("default", "fp32")


@pytest.fixture
def tiny_bert(tmp_path: Path) -> TinyBert:
    """A checkpoint of a small random BERT, which a test may change."""
    return TinyBert.write(tmp_path / "tiny-bert")
