"""The ``whyrank`` command, one file per subcommand."""

from api.cli.main import main

__all__ = ["main"]
