"""The multilingual model with its real weights: skipped unless it is prepared in the user's cache.

`make test-multilingual` prepares it, which fetches 91 MB once, and runs this.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from consumer.offline.replay import replay_file
from consumer.settings import Settings
from consumer.tryout.demo.generate import StreamSettings
from consumer.tryout.demo.phrases import Language
from consumer.tryout.demo.stream import MadeUpStream
from models.embedding.cache import cache_folder
from models.embedding.engine.embedder import OnnxEmbedder
from models.embedding.errors import ModelNotMadeError
from models.embedding.making.export import centred_cosine
from models.embedding.making.pretrained import read_tensors
from models.embedding.making.sample_texts import PROBES
from models.embedding.making.steps import untold
from models.embedding.making.weights import MULTILINGUAL_SOURCE, resolve_source
from models.embedding.manifest import Manifest, Precision
from models.embedding.prepared import prepared_model
from models.measures.agreement import agreement
from tests.models.embedding import bert_reference

WORDS = "embeddings.word_embeddings.weight"


def prepared(precision: Precision) -> Path:
    try:
        return prepared_model(MULTILINGUAL_SOURCE, precision)
    except ModelNotMadeError:
        pytest.skip("the multilingual model is not prepared: `make test-multilingual`")


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Vectors of the probes, by the float64 BERT with the package's weights."""
    folder = prepared("int8")
    source = resolve_source(MULTILINGUAL_SOURCE, cache_folder())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [np.array(tokenizer.encode(f"query: {probe}").ids) for probe in PROBES]
    used, places = np.unique(np.concatenate(rows), return_inverse=True)
    ends = np.cumsum([row.size for row in rows])[:-1]
    with source.checkpoint(tmp_path_factory.mktemp("unpacked"), untold) as checkpoint:
        tensors = read_tensors(checkpoint / "model.safetensors")
        tensors[WORDS] = tensors[WORDS][used]  # the reference works in float64
        how = {"layers": 12, "heads": 12, "pooling": "mean", "normalise": True}
        return np.array(
            [bert_reference.embed(row, tensors, **how) for row in np.split(places, ends)]  # type: ignore[arg-type]
        )


@pytest.mark.parametrize(
    ("precision", "least", "least_centred"), [("fp32", 0.9999, 0.9999), ("int8", 0.999, 0.995)]
)
def test_the_vectors_are_those_of_a_naive_bert(
    precision: Precision, least: float, least_centred: float, exact: np.ndarray
) -> None:
    with OnnxEmbedder.load(prepared(precision), device="cpu") as embedder:
        vectors = embedder.embed(PROBES)
    assert np.sum(vectors * exact, axis=1).min() >= least
    assert centred_cosine(exact, vectors).min() >= least_centred


def test_it_tells_what_texts_are_about_across_languages() -> None:
    pairs = [
        ("How do I brew a good espresso?", "怎样才能煮出一杯好的浓缩咖啡?"),
        ("My phone's battery dies after an hour.", "手機的電池一小時後就沒電了。"),
        ("The running shoes hurt my feet.", "这双跑鞋磨脚。"),
    ]
    with OnnxEmbedder.load(prepared("int8"), device="cpu") as embedder:
        english, chinese = (embedder.embed(texts) for texts in zip(*pairs, strict=True))
    nearest = np.argmax(english @ chinese.T, axis=1)
    assert nearest.tolist() == [0, 1, 2]


def test_it_is_another_model_than_the_hubs() -> None:
    manifest = Manifest.describe(prepared("int8"))
    assert (manifest.name, manifest.prefix) == ("multilingual-e5-small-q4", "query: ")
    assert (manifest.dimensions, manifest.max_tokens, manifest.pad_id) == (384, 512, 1)


def test_groups_of_chinese_writers_are_found(tmp_path: Path) -> None:
    stream = MadeUpStream(
        StreamSettings(users=150, chinese=1.0, bad=0, repeated=0),
        Language.CHINESE,
    )
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(record.value for record in stream.records()))
    with OnnxEmbedder.load(prepared("int8"), device="cpu") as embedder:
        replay_file(events, tmp_path / "out", Settings(), embedder)
    lines = (tmp_path / "out" / "memberships.jsonl").read_text(encoding="utf-8").splitlines()
    found = {line["user_id"]: line["segment"]["id"] for line in map(json.loads, lines)}
    truth = stream.labels()
    assert found.keys() == truth.keys()
    users = list(found)
    told = agreement([truth[user] for user in users], [found[user] for user in users])
    assert told.v_measure >= 0.95
