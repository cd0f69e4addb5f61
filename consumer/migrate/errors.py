"""What ends a migration."""


class MigrationError(Exception):
    """The migration is refused or cannot go on; running it again is always safe."""
