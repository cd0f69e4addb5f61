"""Errors that the command line tells in one sentence."""

from __future__ import annotations


class UsageError(Exception):
    """A wrong combination of arguments, or an audit that cannot be made."""
