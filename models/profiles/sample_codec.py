"""Sampled profiles to records of `profile-samples`, a whole batch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.profiles.rows import ProfileRows
from schemas.binary import HEAD, MAGIC, SECTION, VERSION, seal, section
from schemas.samples import SAMPLE, SAMPLE_KIND, SampleTag
from schemas.states import words

_HEAD = int.from_bytes(HEAD.pack(MAGIC, ord(SAMPLE_KIND), VERSION), "little")


@cache
def _fixed(dimensions: int) -> np.dtype[np.void]:
    """Give the part of a record that is alike in all."""
    return np.dtype(
        [
            ("head", "<u4"),
            ("sample_section", "<u8"),
            ("embedding", f"V{len(bytes(32))}"),
            ("weight", "<f8"),
            ("updated", "<i8"),
            ("sampled", "<i8"),
            ("vector_section", "<u8"),
            ("vector", "<f4", (dimensions,)),
        ]
    )


def encode_samples(
    rows: ProfileRows,
    chosen: Sequence[int],
    embedding: str,
    *,
    sampled: Sequence[bool] | None = None,
    labels: bool = False,
    latest: Mapping[int, NDArray[np.float32]] | None = None,
) -> list[bytes]:
    """Write what the trainer learns from: unit vectors of some users' profiles, with their words.

    Parameters
    ----------
    rows, chosen
        States of users, and k rows of them.
    embedding
        Identity of the embedding model, 64 hexadecimal digits.
    sampled
        Whether segments are learned from each of them, (k,); from all by default.
    labels
        Whether to say the label that was given for the user.
    latest
        Embeddings of latest texts by row, float32 (d,), for those of whom one is known and told.
    """
    which = np.array(chosen, np.int64)
    dimensions = rows.sums.shape[1]
    part = np.empty(len(which), _fixed(dimensions))
    part["head"] = _HEAD
    part["sample_section"] = int.from_bytes(
        SECTION.pack(SampleTag.SAMPLE, 0, SAMPLE.size), "little"
    )
    part["embedding"] = np.void(bytes.fromhex(embedding))
    part["weight"], part["updated"] = rows.weights[which], rows.reference[which]
    part["sampled"] = True if sampled is None else sampled
    part["vector_section"] = int.from_bytes(
        SECTION.pack(SampleTag.VECTOR, 0, 4 * dimensions), "little"
    )
    part["vector"] = rows.vectors(which)
    data, size = part.tobytes(), part.itemsize
    records = []
    for place, row in enumerate(chosen):
        parts = [data[place * size : (place + 1) * size]]
        if terms := rows.terms[row]:
            parts.append(section(SampleTag.WORDS, words(terms)))
        if labels and (label := rows.given[row]) is not None:
            parts.append(section(SampleTag.LABEL, label.encode()))
        if latest is not None and (text := latest.get(row)) is not None:
            parts.append(section(SampleTag.LATEST, text.astype("<f2").tobytes()))
        records.append(seal(b"".join(parts), rows.users[row].encode()))
    return records
