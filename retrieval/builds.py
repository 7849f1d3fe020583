"""The artifact folder: its builds, the current build, and atomic publication of a new one.

::

    <directory>/
    ├── CURRENT         name of the current build; replacing this file publishes a build
    ├── PREVIOUS        name of the previous build, which is kept
    ├── .lock           held while builds are published or removed
    ├── .writing-*/     scratch folder of a running fit, which locks its file ``.lock``
    └── build-<hash>/   files that never change; a reader holds a shared lock on the manifest

All locks are ``flock``s: the kernel releases them when the process ends, even if it is killed. A build is never removed
while ``CURRENT`` or ``PREVIOUS`` names it or a process has loaded it.
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
_LOCK_TIMEOUT_S = 60.0
"""Timeout for the lock, which a fit holds for milliseconds while it publishes."""
_ABANDONED_S = 86_400.0
"""Age from which a scratch folder without a lock file counts as abandoned. Older versions created such folders."""


def current_build(directory: Path) -> str | None:
    """Return the name of the current build, or None if there is none. The name depends on the data and parameters.

    Raises:
        ArtifactError: If ``CURRENT`` cannot be read, or does not hold the name of a build.
    """
    return _named(directory / _CURRENT)


def unwritable_error(directory: Path, error: Exception) -> ArtifactError:
    """Create the error for a folder that cannot be written to."""
    return ArtifactError(
        f"the artifact cannot be written to {directory} ({error})",
        field="artifact",
        remedy="Check the folder's permissions and the free disk space, or name another folder",
        code="artifact_unwritable",
    )


@contextmanager
def scratch_folder(directory: Path) -> Iterator[Path]:
    """Create a scratch folder in the artifact folder and remove it at the end. Also removes those of killed fits.

    Raises:
        ArtifactError: If the folder cannot be written to, or another process keeps it locked.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            scratch = tempfile.TemporaryDirectory(dir=directory, prefix=_WRITING, ignore_cleanup_errors=True)
            own = (Path(scratch.name) / _LOCK).open("w")
            fcntl.flock(own, fcntl.LOCK_EX)
            for found in directory.glob(f"{_WRITING}*"):
                if found != Path(scratch.name) and _is_abandoned(found):
                    _move(found, Path(scratch.name))
    except OSError as error:
        raise unwritable_error(directory, error) from error
    with own, scratch:
        yield Path(scratch.name)


def publish(directory: Path, scratch: Path, built: Path, name: str, checksums: Mapping[str, str]) -> None:
    """Make a finished build the current one and remove unused builds.

    A reader sees either the old build or the new one, never a mixture.

    Args:
        directory: The artifact folder.
        scratch: A folder created by :func:`scratch_folder`.
        built: Folder with the files of the build, inside ``scratch``.
        name: Name of the build.
        checksums: SHA-256 of each file by its path in the build. An existing build with the same name and the same
            files is kept and gets the new manifest.

    Raises:
        OSError: If the folder cannot be written to.
        ArtifactError: If another process keeps it locked.
    """
    target, pointer = directory / name, scratch / _CURRENT
    _write(pointer, name)
    with _locked(directory):
        with suppress(ArtifactError):  # replace an unreadable pointer
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
        # Not under the lock, so that other fits do not wait if this one is suspended here. Its build is locked already.
        pointer.replace(directory / _CURRENT)
        flush_to_disk(directory)
        with suppress(ArtifactError, OSError):  # a fit that publishes at the same time removes them
            _remove_old(directory, scratch, name)
    finally:
        if held is not None:
            os.close(held)


def remove_other_builds(directory: Path) -> list[str]:
    """Remove all builds but the current one, such as after a user was forgotten whom they hold.

    Returns:
        Names of the builds that stay because a process has loaded them.

    Raises:
        ArtifactError: If the folder cannot be written to, or another process keeps it locked.
    """
    kept = []
    with scratch_folder(directory) as scratch, _locked(directory):
        current = current_build(directory)
        for build in directory.glob("build-*"):
            if build.name == current:
                continue
            if _is_held(build):
                kept.append(build.name)
            else:
                _move(build, scratch)
        with suppress(ArtifactError):
            if _named(directory / _PREVIOUS) not in kept:
                (directory / _PREVIOUS).unlink(missing_ok=True)
    return sorted(kept)


def lock_build(folder: Path) -> int | None:
    """Lock a build against removal until the returned file descriptor is closed; None if it cannot be locked."""
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
    timeout_s = _LOCK_TIMEOUT_S if wait else 0.0
    with (directory / _LOCK).open("a") as lock:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise ArtifactError(
                        f"another process has kept {directory} locked for {timeout_s:.0f} s",
                        field="artifact",
                        remedy="Look for a 'whyrank fit' that hangs, end it, and fit again",
                        code="artifact_locked",
                    ) from error
                time.sleep(0.01)
        yield


def _is_abandoned(scratch: Path) -> bool:
    """Whether the fit that wrote to this folder has ended. Call it under the lock of the artifact folder."""
    try:
        with (scratch / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except FileNotFoundError:
        with suppress(OSError):
            return not any(scratch.iterdir()) or time.time() - scratch.stat().st_mtime > _ABANDONED_S
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
    """Move a folder into the scratch folder, which is removed later without the lock, since that can take long."""
    with suppress(OSError):
        folder.rename(scratch / f"removed-{folder.name.lstrip('.')}")


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    flush_to_disk(path)
