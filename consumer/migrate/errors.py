"""What ends a migration."""

from __future__ import annotations

from consumer.contract.errors import ExpectedError


class MigrationError(ExpectedError):
    """The migration is refused or cannot go on; running it again is always safe."""
