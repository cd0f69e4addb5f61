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
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from consumer.settings import CONFIG_VARIABLE, PREFIX, Settings, SettingsFileError
from consumer.settings.kafka import is_secret
from schemas.errors import Problem, problems

# Variables that are no settings, yet ours.
_OTHERS = {CONFIG_VARIABLE, "SEGMENTER_CACHE"}
_LONGEST_VALUE = 60

SETTINGS_ERRORS = (ValidationError, SettingsError, SettingsFileError)
"""What making the settings may raise: for `explain`."""

# What Kubernetes puts into every pod for a Service called segmenter, or segmenter-something.
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
# How pydantic-settings begins to say that a flag of several values cannot be read.
_SEVERAL = re.compile(r"Parsing error encountered for ([\w.]+): ")
# How it begins to say that what a flag or a variable gives a whole section is no JSON.
_NO_SECTION = re.compile(r'error parsing value for field "(\w+)" from source "CliSettingsSource"')
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
    found = _of_file(environment.get(CONFIG_VARIABLE))
    # The more particular variable wins over a section given as JSON.
    for name in sorted(environment, key=lambda each: each.count("__")):
        if setting := _setting(name):
            value: Any = environment[name]
            with suppress(ValueError):
                value = json.loads(value)
            found |= dict.fromkeys(_leaves(value, setting), name)
    return found | dict(flags)


def _setting(name: str) -> str | None:
    """Give the dotted name of a variable's setting, whether there is one or not."""
    upper = name.upper()
    if upper in _OTHERS or not upper.startswith(PREFIX):
        return None
    return upper.removeprefix(PREFIX).strip("_").lower().replace("__", ".")


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    """Give the dotted names of what is in nested dicts; of an empty one, its own."""
    if not isinstance(value, dict) or not value:
        yield path
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{path}.{name}".removeprefix("."))


def _of_file(path: str | None) -> dict[str, str]:
    """Give the settings of the file with their lines; none where it cannot be read."""
    found: dict[str, str] = {}
    try:
        rows = Path(path).read_text(encoding="utf-8").splitlines() if path else []
    except (OSError, ValueError):
        return found
    begin, names = 1, []
    for end in range(1, len(rows) + 1):
        with suppress(tomllib.TOMLDecodeError):  # amid a value of several lines
            names = list(_leaves(tomllib.loads("\n".join(rows[:end]))))
            found = dict.fromkeys(names, f"{path}, line {begin}") | found
            begin = end + 1
    return {name: found[name] for name in names}  # a table that was empty at first is none


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
        # Where a setting may be of several types, each has a problem of its own.
        by_name = {_name(problem): problem for problem in reversed(problems(error))}
        return "; ".join(_sentence(*each, given) for each in reversed(by_name.items()))
    if isinstance(error, SettingsError):  # pydantic names the section, and no more
        if found := _SEVERAL.match(str(error)):  # what follows quotes the value, perhaps a secret
            name = found[1]
            return (
                f"setting {name}: give values, or NAME=VALUE where they have names, with commas in "
                f"between, or JSON (from {flags[name]})"
            )
        if found := _NO_SECTION.match(str(error)):
            leaves = setting_names()
            name, used = next(
                (name, used)
                for name, used in flags.items()
                if f"{name}.".startswith(f"{found[1]}.") and name not in leaves
            )
            return f"setting {name}: {_of_section(name)} (from {used})"
        return next(filter(None, map(_no_json, sorted(os.environ))), str(error))
    return str(error)


def _of_section(name: str) -> str:
    """Say how settings of a section are given."""
    own = next((each for each in setting_names() if each.startswith(f"{name}.")), None)
    one = f"a section: set one of its settings, such as {own}, or all of it" if own else "given"
    return f"is {one} as a JSON object"


def _no_json(name: str) -> str | None:
    """Say what is wrong with a variable that has to be JSON and is none."""
    setting = _setting(name)
    kinds = {each: field.annotation for each, field in fields(Settings)}
    # A section is JSON, and so is what holds several values; the rest is text or a number.
    if setting is None or get_origin(kinds.get(setting, dict[str, str])) not in (dict, list):
        return None
    try:
        json.loads(os.environ[name])
    except ValueError as error:
        return f'the environment\'s {name} must be JSON, such as \'{{"a": "b"}}\': {error}'
    return None


def _name(problem: Problem) -> str:
    """Give the dotted name of what is wrong, without the type that pydantic tells at its end."""
    parts = problem.place
    ends = (number for number, part in enumerate(parts) if number and _TYPE.match(part))
    return ".".join(parts[: next(ends, None)])


_TYPE = re.compile(r"^(str$|literal\[|list\[)")


def _sentence(name: str, problem: Problem, given: Mapping[str, str]) -> str:
    message, shown = problem.message, ""
    sources = _sources(name, message, given)
    if problem.kind == "extra_forbidden":
        meant = nearest(name, [*setting_names(), *Settings.model_fields])
        if meant and sources and sources[0] in os.environ:
            meant = variable(meant)
        message = "there is no such setting" + (f"; did you mean {meant}?" if meant else "")
        sources = sources[:1]
    else:
        shown = _shown(name, problem.given, message)
        if problem.kind == "model_type":  # it names a class of ours
            message = _of_section(name)
        if problem.kind in {"literal_error", "enum"}:
            near = get_close_matches(str(problem.given), re.findall(r"'([^']*)'", message), n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
    aside = ", ".join(part for part in (shown, *(f"from {each}" for each in sources)) if part)
    sentence = f"setting {name}: {message}" if name else message
    return sentence + (f" ({aside})" if aside else "")


def _shown(name: str, value: Any, message: str) -> str:
    """Show a value that is short and no secret, where the message does not show it itself."""
    if not isinstance(value, str | int | float) or not name or is_secret(name):
        return ""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    told = text in message or f"is {value}:" in message
    return "" if told or len(text) > _LONGEST_VALUE else f"it is {text}"


def _sources(name: str, message: str, given: Mapping[str, str]) -> list[str]:
    """Find where what is wrong was given: the setting itself, else those that are spoken of."""
    path = name
    while path:  # an entry of a list or dict may have been given as a whole
        if path in given:
            return [given[path]]
        path = path.rpartition(".")[0]
    inside = {
        each.rpartition(".")[2]: source
        for each, source in given.items()
        if not name or each.startswith(f"{name}.")
    }
    quoted = [source for last, source in inside.items() if repr(last) in message]
    spoken = quoted or [source for last, source in inside.items() if last in message]
    return list(dict.fromkeys(spoken if spoken or not name else inside.values()))
