"""BERT written out plainly in float64, one text at a time: what the ONNX graph must agree with."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, softmax

Floats = NDArray[np.float64]


def embed(
    token_ids: NDArray[np.int64],
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    layers: int,
    heads: int,
    pooling: str,
    normalise: bool,
    epsilon: float = 1e-12,
) -> Floats:
    """One text's vector, after Devlin et al. 2018, https://arxiv.org/abs/1810.04805."""
    x, _ = _encode(token_ids, tensors, layers=layers, heads=heads, epsilon=epsilon)
    pooled: Floats = x[0] if pooling == "cls" else x.mean(axis=0)
    return pooled / np.linalg.norm(pooled) if normalise else pooled


def product_inputs(
    token_ids: NDArray[np.int64],
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    layers: int,
    heads: int,
    epsilon: float = 1e-12,
) -> list[dict[str, Floats]]:
    """What each block multiplies by its weights, by the names of calibration: (tokens, width)."""
    return _encode(token_ids, tensors, layers=layers, heads=heads, epsilon=epsilon)[1]


def _encode(
    token_ids: NDArray[np.int64],
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    layers: int,
    heads: int,
    epsilon: float,
) -> tuple[Floats, list[dict[str, Floats]]]:
    seen: list[dict[str, Floats]] = []
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def dense(x: Floats, name: str) -> Floats:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def layer_norm(x: Floats, name: str) -> Floats:
        mean = x.mean(axis=1, keepdims=True)
        variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
        scaled = (x - mean) / np.sqrt(variance + epsilon)
        return scaled * w[f"{name}.LayerNorm.weight"] + w[f"{name}.LayerNorm.bias"]

    x = w["embeddings.word_embeddings.weight"][token_ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(token_ids)]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x, "embeddings")
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            dense(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value")
        )
        width = x.shape[1] // heads
        attended = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = query[:, part] @ key[:, part].T / np.sqrt(width)
            attended.append(softmax(scores, axis=1) @ value[:, part])
        together = np.concatenate(attended, axis=1)
        seen.append({"attention_input": x, "attention_output": together})
        attention = dense(together, f"{name}.attention.output.dense")
        x = layer_norm(x + attention, f"{name}.attention.output")
        inner = dense(x, f"{name}.intermediate.dense")
        gelu = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        seen[-1] |= {"feed_forward_input": x, "neurons": gelu}
        x = layer_norm(x + dense(gelu, f"{name}.output.dense"), f"{name}.output")
    return x, seen
