"""From one embedding model to another: `segmenter migrate`. Read `consumer.migrate.run` first."""

from consumer.migrate.command import migrate
from consumer.migrate.errors import MigrationError

__all__ = ["MigrationError", "migrate"]
