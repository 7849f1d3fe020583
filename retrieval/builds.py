"""The folder of an artifact: its builds, which of them is current, and how one takes the place of another.

::

    <directory>/
    ├── CURRENT         name of the build in use; replacing this file publishes a build
    ├── PREVIOUS        name of the one before, which is kept
    ├── .lock           held while builds are published or removed
    ├── .writing-*/     scratch folder of a running fit, which holds a lock on the file ``.lock`` in it
    └── build-<hash>/   files that never change; a reader holds a shared lock on the manifest

All locks are ``flock``s, so that they end with the process that holds them, however it ends. No build is removed that
``CURRENT`` or ``PREVIOUS`` names, or that a process has loaded.
"""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from retrieval.disk import checksum, flush_to_disk, read_small_file
from retrieval.errors import ArtifactError

MANIFEST = "manifest.json"
REMEDY = "Run 'whyrank fit' to make a new one"
_CURRENT, _PREVIOUS, _LOCK, _WRITING = "CURRENT", "PREVIOUS", ".lock", ".writing-"
_NAME = re.compile(r"build-[0-9a-f]{16}")
_LONGEST_NAME = 256
_PATIENCE_S = 60.0
"""How long to wait for another fit that is publishing, which takes it milliseconds."""
_FORGOTTEN_S = 86_400.0
"""Age at which a scratch folder without a lock, as earlier versions made them, is taken for abandoned."""


def current_build(directory: Path) -> str | None:
    """The name of the build in use, which changes with every fit of other data or parameters; None if there is none.

    Raises:
        ArtifactError: ``CURRENT`` cannot be read, or does not hold the name of a build.
    """
    return _named(directory / _CURRENT)


def unwritable_error(directory: Path, error: Exception) -> ArtifactError:
    """The error for a folder that cannot be written to."""
    return ArtifactError(
        f"the artifact cannot be written to {directory} ({error})",
        field="artifact",
        remedy="Check the folder's permissions and the free disk space, or name another folder",
        code="artifact_unwritable",
    )


@contextmanager
def scratch_folder(directory: Path) -> Iterator[Path]:
    """A scratch folder in the artifact's folder, removed at the end. What killed fits have left is removed as well.

    Raises:
        ArtifactError: the folder cannot be written to, or another process keeps it locked.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            scratch = tempfile.TemporaryDirectory(dir=directory, prefix=_WRITING, ignore_cleanup_errors=True)
            own = (Path(scratch.name) / _LOCK).open("w")
            fcntl.flock(own, fcntl.LOCK_EX)
            for other in directory.glob(f"{_WRITING}*"):
                if other != Path(scratch.name) and _abandoned(other):
                    _move(other, Path(scratch.name))
    except OSError as error:
        raise unwritable_error(directory, error) from error
    with own, scratch:
        yield Path(scratch.name)


def publish(directory: Path, scratch: Path, built: Path, name: str, checksums: Mapping[str, str]) -> None:
    """Makes a finished build the current one, and removes those that nothing needs any more. A reader sees the old
    build or the new one, never a mixture.

    Args:
        directory: of the artifact.
        scratch: of :func:`scratch_folder`.
        built: the build's files, within ``scratch``.
        name: of the build.
        checksums: SHA-256 of its files, by their path in the build. A build of the same name that has the same files
            stays where it is and gets the new manifest.

    Raises:
        OSError: the folder cannot be written to.
        ArtifactError: another process keeps it locked.
    """
    target, pointer = directory / name, scratch / _CURRENT
    _write(pointer, name)
    with _locked(directory):
        with suppress(ArtifactError):  # what cannot be read is replaced
            if (before := current_build(directory)) not in (None, name):
                (scratch / _PREVIOUS).write_text(str(before))
                (scratch / _PREVIOUS).replace(directory / _PREVIOUS)
        if _is_whole(target, checksums):
            (built / MANIFEST).replace(target / MANIFEST)
        else:
            if target.exists():
                target.rename(scratch / "damaged")
            built.rename(target)
        flush_to_disk(directory)
        held = lock_build(target)
    try:
        # Outside the lock, so that nobody waits for a fit that is suspended from here on; its build is held.
        pointer.replace(directory / _CURRENT)
        flush_to_disk(directory)
        with suppress(ArtifactError, OSError):  # a fit that publishes at this moment removes them in its turn
            _remove_old(directory, scratch, name)
    finally:
        if held is not None:
            os.close(held)


def lock_build(folder: Path) -> int | None:
    """Keeps a build from being removed until the returned file descriptor is closed; None where nothing can be
    locked.
    """
    try:
        descriptor = os.open(folder / MANIFEST, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _named(pointer: Path) -> str | None:
    try:
        name = read_small_file(pointer, _LONGEST_NAME).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ArtifactError(
            f"{pointer} cannot be read ({error.strerror or error})",
            field="artifact",
            remedy=REMEDY,
            code="artifact_unreadable",
        ) from error
    if not _NAME.fullmatch(name):
        raise ArtifactError(
            f"{pointer} holds {name[:80]!r}, which is not the name of a build",
            field="artifact",
            remedy=REMEDY,
            code="artifact_torn",
        )
    return name


@contextmanager
def _locked(directory: Path, *, wait: bool = True) -> Iterator[None]:
    patience_s = _PATIENCE_S if wait else 0.0
    with (directory / _LOCK).open("a") as lock:
        ends = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > ends:
                    raise ArtifactError(
                        f"another process has kept {directory} locked for {patience_s:.0f} s",
                        field="artifact",
                        remedy="Look for a 'whyrank fit' that hangs, end it, and fit again",
                        code="artifact_locked",
                    ) from error
                time.sleep(0.01)
        yield


def _abandoned(scratch: Path) -> bool:
    """Whether the fit that wrote to this folder has ended. Asked under the folder's lock, under which fits begin."""
    try:
        with (scratch / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except FileNotFoundError:
        with suppress(OSError):
            return not any(scratch.iterdir()) or time.time() - scratch.stat().st_mtime > _FORGOTTEN_S
    except OSError:
        pass
    return False


def _remove_old(directory: Path, scratch: Path, own: str) -> None:
    with _locked(directory, wait=False):
        kept = {own, current_build(directory)}
        others = [path for path in directory.glob("build-*") if path.name not in kept]
        before = None
        with suppress(ArtifactError):
            before = _named(directory / _PREVIOUS)
        if before is None and others:
            before = max(others, key=lambda path: path.stat().st_mtime).name
        for old in others:
            if old.name != before and not _is_held(old):
                _move(old, scratch)


def _is_held(folder: Path) -> bool:
    try:
        with (folder / MANIFEST).open("rb") as manifest:
            fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _is_whole(folder: Path, checksums: Mapping[str, str]) -> bool:
    try:
        return all(checksum(folder / file) == expected for file, expected in checksums.items())
    except OSError:
        return False


def _move(folder: Path, scratch: Path) -> None:
    """Moves a folder to where it is removed with the scratch folder; removing it may take long, and needs no lock."""
    with suppress(OSError):
        folder.rename(scratch / f"removed-{folder.name.lstrip('.')}")


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    flush_to_disk(path)
