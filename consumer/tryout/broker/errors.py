"""Why a broker could not be had. Each message says what to do."""

from __future__ import annotations

from consumer.contract.errors import ExpectedError, UsageError


class BrokerError(ExpectedError):
    """The embedded Kafka cannot be started or has failed."""


class JarsError(BrokerError):
    """Kafka's jars are neither in the cache nor to be fetched, or are not the pinned ones."""


class DataFolderError(BrokerError):
    """The data folder is in use, is not ours, or holds another kind of cluster."""

    exit_code = UsageError.exit_code


class PortError(BrokerError):
    """A port that was asked for cannot be bound."""

    exit_code = UsageError.exit_code


class StartError(BrokerError):
    """A broker ended, or was not ready in time. The message quotes the end of its log."""
