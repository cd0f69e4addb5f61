"""A flag for every setting, made of the settings themselves.

What is given goes to pydantic as text, beside what the environment and the file give: one place
reads values, whatever they come from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from consumer.settings import Settings
from consumer.settings.commands import uses
from consumer.settings.sources import fields, flag

_SHORT = {"kafka.bootstrap_servers": "--bootstrap-servers", "training.segments": "--segments"}
# Between commas that no quotes enclose.
_PART = re.compile(r'(?:[^,"]|"[^"]*")+')


class SettingFlag(click.Option):
    """The flag of a setting, or a short one for it.

    Attributes
    ----------
    setting
        Dotted name.
    optional
        Whether `None` is a value.
    """

    def __init__(self, name: str, setting: str, field: FieldInfo, **more: Any) -> None:
        self.setting = setting
        kinds = _alternatives(field.annotation)
        self.optional = NoneType in kinds
        several = {get_origin(kind) for kind in kinds} & {dict, list}
        super().__init__(
            [name, name.strip("-").replace(".", "__").replace("-", "_")],
            callback=_entries if dict in several else _items if several else None,
            multiple=bool(several),
            metavar=_form(field.annotation),
            **more,
        )


def setting_flags(command: str) -> Iterator[SettingFlag]:
    """Give the flags of all settings, hidden where a command does not use them.

    Parameters
    ----------
    command
        Words after `segmenter`, such as `topics create`.
    """
    for setting, field in fields(Settings):
        hidden = not uses(command, setting)
        if short := _SHORT.get(setting):  # before the long one, which wins
            yield SettingFlag(
                short, setting, field, help=f"Short for {flag(setting)}.", hidden=hidden
            )
        default = field.get_default()
        told = "" if default in (None, "") else f"  [default: {default}]"
        text = f"{field.description}{told}"
        yield SettingFlag(flag(setting), setting, field, help=text, hidden=hidden)


def taken(flags: Iterable[SettingFlag], params: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Take the settings that were given out of a command's parameters.

    Returns
    -------
    dict
        By dotted name, the flag that was used and the value.
    """
    given = {}
    for each in flags:
        if (value := params.pop(str(each.name))) is not None:
            unset = each.optional and value == "None"
            given[each.setting] = each.opts[0], None if unset else value
    return given


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings by dotted name as the sections that they are in."""
    result: dict[str, Any] = {}
    for setting, value in settings.items():
        *path, name = setting.split(".")
        inner = result
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return result


# --- what a value looks like ----------------------------------------------------------------------


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Give the types that a value may be of."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _form(annotation: Any) -> str:
    """Tell in a word what a value looks like."""
    words: list[str] = []
    for kind in _alternatives(annotation):
        origin, inside = get_origin(kind), get_args(kind)
        if origin is Literal:
            words += inside
        elif origin is dict:
            words.append("NAME=VALUE")
        elif origin is list:
            words.append(_form(inside[0]))
        elif kind is not NoneType:
            words.append(kind.__name__.upper())
    return "|".join(dict.fromkeys(words))


def _parts(text: str) -> list[Any]:
    """Split a value that holds several: JSON, or words between commas."""
    if text.startswith(("[", "{", '"')):
        with suppress(ValueError):
            values = json.loads(f"[{text}]")
            return [*chain.from_iterable(v if isinstance(v, list) else [v] for v in values)]
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return _PART.findall(text)


def _items(_ctx: click.Context, _flag: click.Parameter, given: tuple[str, ...]) -> list[Any] | None:
    """Take the values of a list, from one flag or several."""
    return [*chain.from_iterable(map(_parts, given))] if given else None


def _entries(
    _ctx: click.Context, _flag: click.Parameter, given: tuple[str, ...]
) -> dict[str, Any] | None:
    """Take the entries of a dict, from one flag or several; what comes last wins."""
    entries: dict[str, Any] = {}
    for part in chain.from_iterable(map(_parts, given)):
        if isinstance(part, dict):
            entries |= part
            continue
        name, equals, value = str(part).partition("=")
        if not equals:  # the value is not told: it may be a secret
            raise click.BadParameter("give NAME=VALUE, several between commas, or a JSON object")
        entries[name.strip('"')] = value.strip('"')
    return entries if given else None
