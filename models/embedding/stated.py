"""What the manifests of all kinds of models share: how they are written into a folder and read."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from models.embedding.errors import DamagedFileError, MissingFileError
from models.embedding.model_files import verify_files
from schemas.errors import first_problem

MANIFEST_FILE = "manifest.json"


class StatedManifest(BaseModel, ABC):
    """A model's description, which states its identity in its folder.

    Attributes
    ----------
    refused_as
        What is said of a file that is none of this kind.
    advice
        What to do about one that is missing or damaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    refused_as: ClassVar[str]
    advice: ClassVar[str]

    if TYPE_CHECKING:  # each kind has the field in its own place, with its own check
        files: dict[str, str]

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 over everything that vectors depend on, and nothing else."""

    def write(self, folder: Path) -> None:
        """Write the manifest into a model's folder, its identity first."""
        content = {"identity": self.identity, **self._written()}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")

    def _written(self) -> dict[str, Any]:
        """Give the fields that go into the file."""
        return self.model_dump()

    @classmethod
    def _expect_format(cls, content: dict[str, Any], path: Path) -> None:
        """Refuse a format that this release does not read, before its fields are looked at."""

    @classmethod
    def describe(cls, folder: Path) -> Self:
        """Read a folder's manifest alone, without a look at the files it tells of.

        Raises
        ------
        MissingFileError, DamagedFileError
        """
        path = folder / MANIFEST_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            stated = content.pop("identity", None)
            cls._expect_format(content, path)
            manifest = cls.model_validate(content)
        except FileNotFoundError:
            raise MissingFileError(f"{path} is missing; {cls.advice}.") from None
        except (ValueError, AttributeError, TypeError) as error:
            raise DamagedFileError(
                f"{path} is {cls.refused_as} ({_reason(error)}); {cls.advice}."
            ) from error
        if stated != manifest.identity:
            raise DamagedFileError(
                f"{path} has identity {stated}, but its content makes it {manifest.identity}; "
                f"remove the folder and {cls.advice}."
            )
        return manifest

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's manifest and check every file against it.

        Raises
        ------
        MissingFileError, DamagedFileError
        """
        manifest = cls.describe(folder)
        verify_files(folder, manifest.files)
        return manifest


def _reason(error: Exception) -> str:
    """Say in one line what is wrong, and where."""
    return first_problem(error) if isinstance(error, ValidationError) else str(error)
