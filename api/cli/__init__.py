"""The ``whyrank`` command, one file per subcommand."""

import os

# A request needs little arithmetic: BLAS threads cost more than they save, and implicit has its own threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from api.cli.main import main

__all__ = ["main"]
