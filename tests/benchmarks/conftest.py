"""A small model, and events to embed with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.embedding.making.prepare import prepare_model
from tests.models.embedding.tiny_bert import PLAIN, TinyBert


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small random BERT in fp32, prepared."""
    folder = tmp_path_factory.mktemp("model")
    return prepare_model(str(TinyBert.write(folder / "bert").folder), "fp32", cache=folder)


@pytest.fixture
def events(tmp_path) -> Path:
    """Sixty events of twelve users with one text each that is theirs alone."""
    draw = np.random.default_rng(3)
    lines = [
        {
            "event_id": str(number),
            "user_id": f"user-{number % 12}",
            "type": "review",
            "item_id": "item",
            "occurred_at": f"2024-05-{number % 28 + 1:02}T10:00:00Z",
            "text": " ".join(draw.choice(PLAIN[:10], 3 + number % 40)),
            "label": f"label-{number % 2}",
        }
        for number in range(60)
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path
