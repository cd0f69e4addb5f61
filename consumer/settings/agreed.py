"""Settings that all members of a group need alike, so that it does not matter who has a partition.

What a member has is committed beside its offsets (`consumer.kafka.offset_metadata`), and whoever
takes a partition over holds it against its own. Only what is not the default is written: that is
little, mostly nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from typing import Any

from consumer.settings import Settings
from consumer.settings.commands import uses
from consumer.settings.sources import setting_names

# What is computed from records, and where it goes. The other sections, and what is left out here,
# are a process's own matter. Who embeds otherwise is refused by the model's identity.
_SECTIONS = (
    *("topics", "events", "profile", "assignment", "training", "labels", "drift"),
    *("recommendations", "rules"),
)
_OWN = {
    "topics.prefix",  # the names that come of it are what counts
    *("topics.partitions", "topics.replication_factor", "topics.retention_hours"),
    "training.idle_seconds",
}
# Brokers take 4,096 bytes beside an offset (offset.metadata.max.bytes).
_LONGEST_VALUE = 60
_MOST_CHARS = 2000
_ALL = "*"
"""Name under which a digest of all settings stands where they are too long."""


def agreed(settings: Settings, command: str) -> dict[str, str]:
    """Give the settings that a group's members need alike and that are not at their default.

    Parameters
    ----------
    settings
        All settings.
    command
        What the members run: `worker`, `trainer`, `intake` or `rules run`.

    Returns
    -------
    dict
        By dotted name, the value as JSON; of a long one a digest, which begins with #.
    """
    ours, default = settings.model_dump(mode="json"), _defaults()
    found = {}
    for name in names(command):
        if (value := _at(ours, name)) != _at(default, name):
            text = _text(value)
            found[name] = text if len(text) <= _LONGEST_VALUE else _digest(text)
    whole = _text(found)
    return found if len(whole) <= _MOST_CHARS else {_ALL: _digest(whole)}


def names(command: str) -> list[str]:
    """Give the settings that members who run a command need alike."""
    return [
        name
        for name in setting_names()
        if name.partition(".")[0] in _SECTIONS
        and name not in _OWN
        and uses(command, name)
        and (name != "topics.raw_events" or command == "intake")
    ]


def differences(
    former: Mapping[str, str], own: Mapping[str, str], command: str, here: str = "here"
) -> tuple[str, ...]:
    """Say of each setting in which another member differs what it has there and here.

    Parameters
    ----------
    former, own
        What `agreed` gave there and here.
    command
        As for `agreed`. A setting that only another version has is passed over.
    here
        What the second is called.
    """
    if former == own:
        return ()
    if _ALL in former or _ALL in own:
        return (f"settings are others than {here}",)
    default = _defaults()
    told = []
    for name in names(command):
        its, ours = former.get(name), own.get(name)
        if its == ours:
            continue
        standard = _text(_at(default, name))
        values = [standard if value is None else value for value in (its, ours)]
        if any(value.startswith("#") or len(value) > _LONGEST_VALUE for value in values):
            told.append(f"{name} is another one than {here}")
        else:
            told.append(f"{name} is {values[0]} ({here} {values[1]})")
    return tuple(told)


def apart(
    by_partition: Mapping[int, Mapping[str, str] | None], command: str
) -> dict[tuple[str, ...], list[int]]:
    """Find members of one group whose settings differ from those of most.

    Parameters
    ----------
    by_partition
        What `agreed` gave where the partition's member has committed; None where that is not known.
    command
        What the members run.

    Returns
    -------
    dict
        By what is different, as `differences` says it of most partitions, the partitions.
    """
    known = [each for each in by_partition.values() if each is not None]
    most = max(known, key=known.count, default={})
    found: dict[tuple[str, ...], list[int]] = {}
    for partition, settings in sorted(by_partition.items()):
        if settings is not None and (told := differences(settings, most, command, "elsewhere")):
            found.setdefault(told, []).append(partition)
    return found


def _defaults() -> dict[str, Any]:
    return Settings.model_construct().model_dump(mode="json")


def _at(values: Mapping[str, Any], name: str) -> Any:
    return reduce(lambda inner, part: inner[part], name.split("."), values)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _digest(text: str) -> str:
    return "#" + hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
