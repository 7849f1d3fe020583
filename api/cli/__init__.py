"""The ``whyrank`` command, one file per subcommand."""

import os

# One request's arithmetic is small: waking BLAS threads for it costs more than they save, and implicit brings its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from api.cli.main import main

__all__ = ["main"]
