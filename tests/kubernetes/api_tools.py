"""kube-apiserver and etcd: made once, kept in the user's cache.

kube-apiserver is built from Kubernetes' module, whose sum is pinned here. Its parts are modules of
their own, which it names without a version, so that `go install` refuses it: a module that is made
here for the build names them by the version that belongs to it. What else is needed is pinned by
Kubernetes itself, and all of it is held against Go's database of sums. etcd is Debian's.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from consumer.tryout.broker.jars import scratch_folder
from models.embedding.cache import cache_folder
from tests.debian import PackageError, unpacked
from tests.kubernetes.tools import ToolsError, download, install_go, run_go

logger = logging.getLogger(__name__)

_VERSION = "1.37.2"
_MODULE = f"k8s.io/kubernetes@v{_VERSION}"
_SUM = "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="
_PACKAGE = "k8s.io/kubernetes/cmd/kube-apiserver"
_PARTS = re.compile(r"^\s*(k8s\.io/[\w-]+) v0\.0\.0$", re.MULTILINE)
_ETCD = "etcd-server"


@dataclass(frozen=True, slots=True)
class ApiTools:
    """Where the programs are."""

    apiserver: Path
    etcd: Path


def make_api_tools() -> ApiTools:
    """Give the programs, made now where they are not there: a network, 3 GB, many minutes.

    Raises
    ------
    ToolsError
        If they cannot be made.
    """
    pins = hashlib.sha256(repr((_MODULE, _SUM, _ETCD)).encode()).hexdigest()[:8]
    folder = cache_folder() / f"kube-apiserver-{pins}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder.parent) as scratch:
            made = scratch / "made"
            made.mkdir()
            _fetch_etcd(made, scratch)
            _build(made, scratch)
            made.rename(folder)
    return ApiTools(folder / "kube-apiserver", folder / "etcd")


def _fetch_etcd(to: Path, scratch: Path) -> None:
    try:
        shutil.copy(unpacked(_ETCD, scratch) / "usr" / "bin" / "etcd", to)
    except PackageError as error:
        raise ToolsError(f"etcd: {error}") from error


def _build(to: Path, scratch: Path) -> None:
    go = install_go(scratch)
    logger.info("building kube-apiserver %s, once: many minutes", _VERSION)
    source = download(go, _MODULE, _SUM, scratch)
    module = scratch / "module"
    module.mkdir()
    (module / "go.mod").write_text(go_module((source / "go.mod").read_text()), encoding="utf-8")
    (module / "go.sum").write_bytes((source / "go.sum").read_bytes())
    told = f"-s -w -X k8s.io/component-base/version.gitVersion=v{_VERSION}"
    command = [*go, "build", "-mod=mod", "-trimpath", "-ldflags", told, "-o", str(to), _PACKAGE]
    run_go(command, module, scratch)


def go_module(kubernetes: str) -> str:
    """Write the module that Kubernetes is built in, of its own go.mod."""
    parts = [f"\t{name} v0.{_VERSION.partition('.')[2]}" for name in _PARTS.findall(kubernetes)]
    go = re.search(r"^go (\S+)$", kubernetes, re.MULTILINE)
    wanted = "\n".join([f"\tk8s.io/kubernetes v{_VERSION}", *parts])
    return f"module apiserver\n\ngo {go[1] if go else '1.25'}\n\nrequire (\n{wanted}\n)\n"
