"""Making sure that what was written is there after a crash."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Flushes a file's content, or a folder's renames, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
