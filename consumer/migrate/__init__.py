"""From one embedding model to another: `segmenter migrate`. Read `consumer.migrate.run` first."""

from consumer.migrate.command import migrate, migrate_running
from consumer.migrate.errors import MigrationError
from consumer.migrate.run import Migration

__all__ = ["Migration", "MigrationError", "migrate", "migrate_running"]
