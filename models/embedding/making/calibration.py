"""Measures how large a BERT's activations get, channel by channel, on a few texts.

An int8 model with fixed scales needs to know it beforehand (`models.embedding.making.bert_int8`).
The encoder is written out in float64, and what is measured is rounded up to six significant bits,
so that every machine measures the same and gives the model the same bytes and identity.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, softmax

from models.embedding.making.graph_writer import QKV, Weights
from models.embedding.making.pretrained import BertConfig

Floats = NDArray[np.float64]

_BITS = 6
_RARE = 1e-6
"""What a channel that is always zero counts as; a scale of nothing could not be divided by."""


@dataclass(frozen=True)
class LayerRanges:
    """Largest magnitudes of what is multiplied by one encoder block's weights.

    Parameters
    ----------
    attention_input, attention_output, feed_forward_input
        Of each channel: (hidden,).
    neurons
        Of each neuron after its activation: (intermediate,).
    """

    attention_input: Floats
    attention_output: Floats
    feed_forward_input: Floats
    neurons: Floats


def measure_ranges(
    config: BertConfig, weights: Weights, rows: Iterable[NDArray[np.int64]]
) -> Sequence[LayerRanges]:
    """Run an encoder over texts and give the ranges of each of its blocks.

    Parameters
    ----------
    config, weights
        The encoder.
    rows
        Token ids of each text, special tokens included. Each text is a run of its own.
    """
    encoder = _Encoder(config, weights)
    largest: list[tuple[Floats, ...]] | None = None
    for row in rows:
        found = encoder.run(row)
        if largest is None:
            largest = found
        else:
            largest = [
                tuple(np.maximum(one, other) for one, other in zip(old, new, strict=True))
                for old, new in zip(largest, found, strict=True)
            ]
    if largest is None:
        raise ValueError("rows holds no text to measure on")
    return [LayerRanges(*map(round_up, layer)) for layer in largest]


def round_up(values: Floats) -> Floats:
    """Round positive values up to six significant bits; each step is exact on every machine."""
    mantissa, exponent = np.frexp(np.maximum(values, _RARE))
    rounded: Floats = np.ldexp(np.ceil(np.ldexp(mantissa, _BITS)), exponent - _BITS)
    return rounded


class _Encoder:
    """BERT in float64 that notes what it multiplies."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        self._config = config
        self._weights = weights
        hidden, inner = config.hidden, config.intermediate
        self._words = weights.words
        self._positions = weights.positions + weights.token_types[0]
        self._first_norm = self._norm("embeddings")
        self._layers = [
            {
                **{
                    part: self._dense(f"{name}.attention.self.{part}", hidden, hidden)
                    for part in QKV
                },
                "projection": self._dense(f"{name}.attention.output.dense", hidden, hidden),
                "wide": self._dense(f"{name}.intermediate.dense", hidden, inner),
                "narrow": self._dense(f"{name}.output.dense", inner, hidden),
                "attention_norm": self._norm(f"{name}.attention.output"),
                "output_norm": self._norm(f"{name}.output"),
            }
            for name in (f"encoder.layer.{layer}" for layer in range(config.layers))
        ]

    def _dense(self, name: str, inputs: int, outputs: int) -> tuple[Floats, Floats]:
        weight = self._weights.dense(name, inputs, outputs)
        return weight.astype(np.float64), self._weights.bias(name, outputs).astype(np.float64)

    def _norm(self, name: str) -> tuple[Floats, Floats]:
        scale, shift = self._weights.norm(name)
        return scale.astype(np.float64), shift.astype(np.float64)

    def run(self, row: NDArray[np.int64]) -> list[tuple[Floats, ...]]:
        """Largest magnitudes in each block, in the order of `LayerRanges`."""
        found = []
        embedded = self._words[row].astype(np.float64) + self._positions[: row.size]
        hidden = self._normed(embedded, self._first_norm)
        for layer in self._layers:
            attended = self._attend(hidden, layer)
            middle = self._normed(
                _apply(attended, layer["projection"]) + hidden, layer["attention_norm"]
            )
            wide = _apply(middle, layer["wide"])
            active = wide * 0.5 * (1 + erf(wide / np.sqrt(2)))
            seen = (hidden, attended, middle, active)
            found.append(tuple(np.abs(values).max(axis=0) for values in seen))
            hidden = self._normed(_apply(active, layer["narrow"]) + middle, layer["output_norm"])
        return found

    def _attend(self, hidden: Floats, layer: dict[str, tuple[Floats, Floats]]) -> Floats:
        heads = self._config.heads
        query, key, value = (
            _apply(hidden, layer[part]).reshape(len(hidden), heads, -1).transpose(1, 0, 2)
            for part in QKV
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        attended = softmax(scores, axis=-1) @ value
        together: Floats = attended.transpose(1, 0, 2).reshape(len(hidden), -1)
        return together

    def _normed(self, values: Floats, norm: tuple[Floats, Floats]) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        scale, shift = norm
        normed: Floats = centred / np.sqrt(variance + self._config.epsilon) * scale + shift
        return normed


def _apply(values: Floats, dense: tuple[Floats, Floats]) -> Floats:
    weight, bias = dense
    applied: Floats = values @ weight + bias
    return applied
