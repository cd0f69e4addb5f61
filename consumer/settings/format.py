"""The effective settings as text: JSON to look at, TOML and variables to be read back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from consumer.settings.sources import variable


def to_json(settings: Mapping[str, Any]) -> str:
    """Write settings as one JSON object."""
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write settings as the file that `--config` reads.

    TOML has no null: what is not set is left out, and is not set again when the file is read.
    """
    return "\n".join(
        "\n".join([f"[{name}]", *_lines(section), ""]) for name, section in settings.items()
    )


def _lines(section: Mapping[str, Any]) -> Iterator[str]:
    for name, value in section.items():
        if value is not None:
            yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """Write a value of TOML; what JSON writes for text, numbers and lists is TOML too."""
    if isinstance(value, Mapping):
        inner = (
            f"{_text(name)} = {_value(each)}" for name, each in value.items() if each is not None
        )
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf, too
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    # JSON lets DEL through, TOML does not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def to_env(settings: Mapping[str, Any]) -> str:
    """Write settings as variables, a line each, for `set -a; . FILE`; what is not set is left out.

    A setting that holds several values is JSON.
    """
    return "".join(
        f"{variable(f'{section}.{name}')}={shlex.quote(_plain(value))}\n"
        for section, values in settings.items()
        for name, value in values.items()
        if value is not None
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "json": to_json,
    "toml": to_toml,
    "env": to_env,
}
