"""What a prepared model is: the file `manifest.json` beside it."""

import hashlib
import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from models.embedding.checkpoint import Pooling, verify_files
from models.embedding.errors import DamagedFileError, MissingFileError
from models.embedding.graph_writer import Precision

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
PACKED_FILE = "packed.onnx"
WEIGHTS_FILE = "weights.bin"
TOKENIZER_FILE = "tokenizer.json"


class Manifest(BaseModel):
    """A prepared model's description.

    Two models with the same `identity` give the same vectors, up to the arithmetic of the CPU or
    GPU. It is what profiles and segment models are stamped with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    dimensions: int
    max_tokens: int
    pad_id: int
    pooling: Pooling
    normalise: bool
    precision: Precision
    opset: int
    exporter: int
    files: dict[str, str]

    @property
    def identity(self) -> str:
        """SHA-256 over everything but where the weights came from and what they are called."""
        content = self.model_dump(exclude={"name", "source"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the manifest into a model's folder, its identity first."""
        content = {"identity": self.identity, **self.model_dump()}
        (folder / MANIFEST_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's manifest and check every file against it.

        Raises
        ------
        MissingFileError, DamagedFileError
        """
        path = folder / MANIFEST_FILE
        advice = "prepare the model with `segmenter model prepare`"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            stated = content.pop("identity", None)
            manifest = cls.model_validate(content)
        except FileNotFoundError:
            raise MissingFileError(f"{path} is missing; {advice}.") from None
        except (ValueError, AttributeError, ValidationError) as error:
            raise DamagedFileError(f"{path} is not a manifest ({error}); {advice}.") from error
        if stated != manifest.identity:
            raise DamagedFileError(
                f"{path} has identity {stated}, but its content makes it {manifest.identity}; "
                f"remove the folder and {advice}."
            )
        verify_files(folder, manifest.files)
        return manifest
