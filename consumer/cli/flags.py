"""A flag for every setting: pydantic-settings says which there are and reads them, click parses."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import click
from pydantic_settings import CliSettingsSource

from consumer.settings import Settings
from consumer.settings.commands import uses

_SHORT = {"kafka.bootstrap_servers": "--bootstrap-servers", "training.segments": "--segments"}
# Says nothing to whoever asks for help.
_NO_DEFAULT = re.compile(r" \(default( factory)?: (None|[^()]*<lambda>|dict|list|frozenset\(\)|)\)")
# The names of an enumeration, where its values are to be given.
_NAMES = re.compile(r"(?<=\[\{)[A-Z_,]+")


class SettingFlag(click.Option):
    """The flag of a setting, or a short one for it."""

    def __init__(self, name: str, setting: str, **more: Any) -> None:
        super().__init__([name, re.sub(r"\W", "_", name).strip("_")], **more)
        self.setting = setting


class SettingFlags(list[SettingFlag]):
    """The flags of all settings, hidden where a command does not use them.

    Parameters
    ----------
    command
        Words after `segmenter`, such as `topics create`.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._source: CliSettingsSource[Settings] = CliSettingsSource(
            Settings,
            root_parser=object(),
            cli_kebab_case=True,
            cli_avoid_json=True,
            cli_hide_none_type=True,
            parse_args_method=lambda *_: None,
            add_argument_method=self._add,
            add_argument_group_method=lambda parser, **_: parser,
            add_parser_method=None,
            add_subparsers_method=None,
            formatter_class=None,
        )

    def _add(self, _parser: object, flag: str, *, dest: str, metavar: str, **more: Any) -> None:
        how: dict[str, Any] = {
            "metavar": _NAMES.sub(
                lambda names: names[0].lower(), metavar.replace("frozenset[", "list[")
            ),
            "multiple": more.get("action") == "append",
            "hidden": not uses(self._command, dest) or metavar == "JSON",  # a section as a whole
        }
        if short := _SHORT.get(dest):  # before the long one, which wins
            self.append(SettingFlag(short, dest, help=f"Short for {flag}.", **how))
        self.append(SettingFlag(flag, dest, help=_NO_DEFAULT.sub("", more["help"]), **how))

    def take(self, params: dict[str, Any]) -> dict[str, tuple[str, Any]]:
        """Take the settings that were given out of a command's parameters.

        Returns
        -------
        dict
            By dotted name, the flag that was used and what was given.
        """
        given = {}
        for each in self:
            if (value := params.pop(str(each.name))) not in (None, ()):
                given[each.setting] = each.opts[0], list(value) if each.multiple else value
        return given

    def settings(self, given: dict[str, tuple[str, Any]]) -> Settings:
        """Make the settings; raise one of `SETTINGS_ERRORS` where they are wrong."""
        values = {name: value for name, (_, value) in given.items()}
        return Settings(_cli_settings_source=self._source(parsed_args=values))


@cache
def setting_flags(command: str) -> SettingFlags:
    """Give the flags of a command, the same each time."""
    return SettingFlags(command)
