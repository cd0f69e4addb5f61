"""River's private parts are those of the version that was looked at."""

from __future__ import annotations

from importlib.metadata import version

from models.river_internals import CHECKED_VERSION


def test_the_installed_river_is_the_one_whose_private_parts_were_looked_at():
    assert version("river") == CHECKED_VERSION
