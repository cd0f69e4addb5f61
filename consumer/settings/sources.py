"""Where each setting was given, and what was probably meant by a name that is none.

pydantic says what is wrong with a value; whoever has to mend it needs the flag, the variable, or
the line of the file.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from consumer.settings import CONFIG_VARIABLE, PREFIX, Settings, SettingsNameError
from consumer.settings.kafka import is_secret

# Variables that are no settings, yet ours.
_OTHERS = {CONFIG_VARIABLE, "SEGMENTER_CACHE"}
_LONGEST_VALUE = 60

# What Kubernetes puts into every pod for a Service called segmenter, or segmenter-something.
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_SERVICE_ADDRESS = re.compile(r"^(tcp|udp|sctp)://")


def setting_names() -> list[str]:
    """Give the dotted name of every setting that is no section itself."""
    return [name for name, _ in fields(Settings)]


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Give the dotted name and the field of every setting."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


def variable(setting: str) -> str:
    """Name the environment variable of a setting."""
    return PREFIX + setting.upper().replace(".", "__")


def flag(setting: str) -> str:
    """Name the flag of a setting."""
    return "--" + setting.replace("_", "-")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known dotted name that was probably meant, None where none is near.

    A name that is right in another section comes first.
    """
    known = list(known)
    moved = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
    close = get_close_matches(name, moved or known, n=1, cutoff=0.3 if moved else 0.7)
    return close[0] if close else None


# --- names in the environment ---------------------------------------------------------------------


def environment_hints(environment: Mapping[str, str]) -> list[str]:
    """Give a sentence for each variable that sets nothing and is nearly the name of a setting.

    Never an error: a cluster puts names such as SEGMENTER_HTTP_PORT into the environment of every
    pod beside a Service of that name. Those are known by their form and left alone.
    """
    variables = {variable(name): name for name in setting_names()}
    flat = {each.replace("__", "_"): each for each in variables}
    hints = []
    for name, value in sorted(environment.items()):
        upper = name.upper()
        # A misspelt name with a double underscore behind the prefix is an error of its own.
        if upper in _OTHERS or (upper.startswith(PREFIX) and "__" in upper):
            continue
        if upper.removeprefix(PREFIX).lower() in Settings.model_fields:  # a section as JSON
            continue
        if _SERVICE_LINK.search(upper) or _SERVICE_ADDRESS.match(value):
            continue
        if (meant := _meant(upper, flat)) is not None:
            hints.append(f"the environment's {name} sets nothing: did you mean {meant}?")
    return hints


def _meant(name: str, flat: Mapping[str, str]) -> str | None:
    """Find the variable that a name is nearly; under another prefix it has to be nearer."""
    collapsed = name.replace("__", "_")
    if collapsed in flat:
        return flat[collapsed]
    if name in {other.replace("_", "", 1) for other in _OTHERS}:
        return None
    ours = name.startswith(PREFIX)
    if not ours and not name.startswith("SEG"):
        return None
    close = get_close_matches(collapsed, [*flat, *_OTHERS], n=1, cutoff=0.85 if ours else 0.9)
    return flat.get(close[0], close[0]) if close else None


# --- where a setting was given --------------------------------------------------------------------


def given_settings(flags: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Tell where each setting was given that is not left at its default.

    Parameters
    ----------
    flags
        Settings on the command line, by dotted name, with the flag that was used.
    environment
        The environment; its SEGMENTER_CONFIG names the settings file.

    Returns
    -------
    dict
        By dotted name, the source that wins: `--kafka.group-id`, `SEGMENTER_KAFKA__GROUP_ID` or
        `segmenter.toml, line 3`.
    """
    found = dict(_of_file(environment.get(CONFIG_VARIABLE)))
    # The more particular variable wins over a section given as JSON.
    for name in sorted(environment, key=lambda each: each.count("__")):
        if not name.upper().startswith(PREFIX) or name.upper() in _OTHERS:
            continue
        path = name.upper().removeprefix(PREFIX).lower().replace("__", ".")
        for setting in _leaves(_json(environment[name]), path):
            found[setting] = name
    return found | dict(flags)


def _json(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _leaves(value: Any, path: str) -> Iterator[str]:
    """Give the dotted names of what is in nested dicts; of an empty one, its own."""
    if not isinstance(value, dict) or not value:
        yield path
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{path}.{name}")


_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)


def _of_file(path: str | None) -> Iterator[tuple[str, str]]:
    """Give the settings of the file with their lines; none where it cannot be read."""
    if not path:
        return
    try:
        text = Path(path).read_text(encoding="utf-8")
        names = list(_leaves(tomllib.loads(text), ""))
    except (OSError, ValueError):
        return
    lines = _lines(text)
    for dotted in names:
        name = dotted.removeprefix(".")
        # What is in an inline table is where that begins.
        at = name
        while at not in lines and "." in at:
            at = at.rpartition(".")[0]
        where = f"{path}, line {lines[at]}" if at in lines else path
        yield name, where


def _lines(text: str) -> dict[str, int]:
    """Find the line of each key and table of a TOML text that is known to be valid."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _dotted(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{_dotted(key[1])}".removeprefix("."), number)
    return lines


def _dotted(key: str) -> str:
    """Take the quotes off a key of TOML."""
    try:
        return next(_leaves(tomllib.loads(f"{key} = 0"), "")).removeprefix(".")
    except tomllib.TOMLDecodeError:  # a line of a text that only looks like a key
        return key


# --- what is wrong --------------------------------------------------------------------------------


def explain(error: Exception, flags: Mapping[str, str]) -> str:
    """Say in one sentence for each problem what is wrong, where it was given, and what is right.

    Parameters
    ----------
    error
        Of making the settings.
    flags
        As for `given_settings`.
    """
    if isinstance(error, ValidationError):
        given = given_settings(flags, os.environ)
        return "; ".join(_sentence(problem, given) for problem in _problems(error))
    if isinstance(error, SettingsNameError):
        name = error.variable.upper().removeprefix(PREFIX).strip("_").lower().replace("__", ".")
        meant = nearest(name, setting_names())
        return f"{error}" + (f"; did you mean {variable(meant)}?" if meant else "")
    if isinstance(error, SettingsError):  # pydantic names the section, and no more
        for name in given_settings({}, os.environ).values():
            if problem := _no_json(name):
                return problem
    return str(error)


def _no_json(name: str) -> str | None:
    """Say what is wrong with a variable that has to be JSON and is none."""
    setting = name.upper().removeprefix(PREFIX).lower().replace("__", ".")
    # A section is JSON, and so is what holds several values; the rest is text or a number.
    field = dict(fields(Settings)).get(setting)
    if field is not None and get_origin(field.annotation) not in (dict, list):
        return None
    try:
        json.loads(os.environ.get(name, "null"))
    except ValueError as error:
        return f'the environment\'s {name} must be JSON, such as \'{{"a": "b"}}\': {error}'
    return None


# Where a setting may be of several types, pydantic tells each of them at the end of the place.
_TYPE = re.compile(r"^(str$|literal\[|list\[)")


def _problems(error: ValidationError) -> Iterator[tuple[str, str, str, Any]]:
    told = set()
    for problem in error.errors(include_url=False, include_context=False):
        parts = [str(part) for part in problem["loc"]]
        types = [number for number, part in enumerate(parts) if number and _TYPE.match(part)]
        name = ".".join(parts[: types[0]] if types else parts)
        if types and name in told:
            continue
        told.add(name)
        message = problem["msg"].removeprefix("Value error, ")
        yield name, problem["type"], message, problem.get("input")


def _sentence(problem: tuple[str, str, str, Any], given: Mapping[str, str]) -> str:
    name, kind, message, value = problem
    if kind == "extra_forbidden":
        known = [*setting_names(), *Settings.model_fields]
        meant = nearest(name, known)
        message = "there is no such setting" + (f"; did you mean {meant}?" if meant else "")
        shown = ""
    else:
        shown = _shown(name, value, message)
        if kind in {"literal_error", "enum"}:
            near = get_close_matches(str(value), re.findall(r"'([^']*)'", message), n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
    sources = _sources(name, message, given)
    aside = ", ".join(part for part in (shown, *(f"from {each}" for each in sources)) if part)
    sentence = f"setting {name}: {message}" if name else message
    return sentence + (f" ({aside})" if aside else "")


def _shown(name: str, value: Any, message: str) -> str:
    """Show a value that is short and no secret, where the message does not show it itself."""
    if not isinstance(value, str | int | float | bool) or not name or is_secret(name):
        return ""
    text = repr(value)
    told = text in message or f"is {value}:" in message
    return "" if told or len(text) > _LONGEST_VALUE else f"it is {text}"


def _sources(name: str, message: str, given: Mapping[str, str]) -> list[str]:
    """Find where what is wrong was given: the setting itself, else those that are spoken of."""
    if name in given:
        return [given[name]]
    path = name
    while "." in path:  # an entry of a list or dict that was given as a whole
        path = path.rpartition(".")[0]
        if path in given:
            return [given[path]]
    inside = {
        each: source for each, source in given.items() if not name or each.startswith(f"{name}.")
    }
    last = {each: each.rpartition(".")[2] for each in inside}
    quoted = [source for each, source in inside.items() if repr(last[each]) in message]
    spoken = quoted or [source for each, source in inside.items() if last[each] in message]
    return _ranges(dict.fromkeys(spoken if spoken or not name else inside.values()))


def _ranges(sources: Iterable[str]) -> list[str]:
    """Tell several lines of a file as one place."""
    lines: dict[str, list[int]] = {}
    for source in sources:
        where, _, line = source.rpartition(", line ")
        if where:
            lines.setdefault(where, []).append(int(line))
        else:
            lines.setdefault(source, [])
    return [
        where
        + (f", line {at[0]}" if len(at) == 1 else f", lines {min(at)} to {max(at)}" if at else "")
        for where, at in lines.items()
    ]
