"""Flush files to disk, compute checksums, and read small untrusted files safely."""

import hashlib
import os
import stat
from pathlib import Path


def flush_to_disk(path: Path) -> None:
    """Flush a file's content, or the renames in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_small_file(path: Path, most: int) -> bytes:
    """Read a regular file without blocking, whatever the path names.

    Args:
        path: Path of the file.
        most: Maximum size in bytes.

    Raises:
        OSError: If it cannot be read, is not a regular file, or is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            content = stream.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise OSError(f"it is larger than {most:,} bytes")
    return content
