"""Read the files of a build into memory and verify them against the manifest.

Files are not memory-mapped: truncating a mapped file kills the process with SIGBUS, and overwriting it changes the
answers. The content in memory is exactly the content whose checksum was verified.
"""

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from retrieval.builds import REMEDY
from retrieval.disk import checksum
from retrieval.errors import ArtifactError

Array: TypeAlias = NDArray[Any]
_Stamp: TypeAlias = tuple[int, int, int]
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_ATTRIBUTES = (pl.String, pl.Boolean, pl.List(pl.String))


class BuildFiles:
    """Read the files that a manifest lists.

    Args:
        folder: Folder of the build.
        checksums: SHA-256 of each file by its path in the folder.

    Raises:
        ArtifactError: If a path is not valid inside the folder.
    """

    def __init__(self, folder: Path, checksums: Mapping[str, str]) -> None:
        self._folder = folder
        self._checksums = checksums
        self._stamps: dict[str, _Stamp | None] = {}
        self._changed: set[str] = set()
        for name in checksums:
            if not _FILE.fullmatch(name):
                raise self.torn(f"lists a file {name[:80]!r}, which cannot be in a build")

    def torn(self, problem: str) -> ArtifactError:
        """Create the error for an unusable build; ``problem`` is a sentence without its subject."""
        return ArtifactError(f"{self._folder} {problem}", field="artifact", remedy=REMEDY, code="artifact_torn")

    def read(self, name: str) -> NDArray[np.uint8]:
        """Read the bytes of a file.

        Raises:
            ArtifactError: If it is missing, or its checksum differs from the manifest's.
        """
        self._stamps[name] = _stamp(self._folder / name)
        try:
            with (self._folder / name).open("rb", buffering=0) as stream:
                content = np.empty(os.fstat(stream.fileno()).st_size, dtype=np.uint8)
                length = 0
                while count := stream.readinto(content[length:].data):
                    length += count
        except (OSError, MemoryError) as error:
            raise self._damaged(name) from error
        if length != len(content) or hashlib.sha256(content.data).hexdigest() != self._checksums.get(name):
            raise self._damaged(name)
        return content

    def arrays(self) -> dict[str, Array]:
        """Read all arrays, by path without the suffix. They are writable and in memory.

        Raises:
            ArtifactError: If a file is damaged, or is not an array of numbers.
        """
        return {name.removesuffix(".npy"): self._array(name) for name in self._checksums if name.endswith(".npy")}

    def table(self, name: str) -> pl.DataFrame:
        """Read a Parquet file.

        Raises:
            ArtifactError: If it is damaged, or is not Parquet.
        """
        try:
            return pl.read_parquet(io.BytesIO(self.read(name).data))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
            raise self._damaged(name) from error

    def json(self, name: str) -> Any:
        """Read a JSON file.

        Raises:
            ArtifactError: If it is damaged, or is not JSON.
        """
        try:
            return json.loads(self.read(name).tobytes())
        except (ValueError, RecursionError) as error:
            raise self._damaged(name) from error

    def check_rest(self) -> None:
        """Verify the files that were not read.

        Raises:
            ArtifactError: If a file is missing or damaged.
        """
        for name in self._checksums.keys() - self._stamps.keys():
            self.read(name)

    def changed(self) -> list[str]:
        """Return the sorted names of the files whose content on disk has changed since they were read.

        Reads only files whose size, modification time or inode has changed since the last call.
        """
        for name, expected in self._checksums.items():
            path = self._folder / name
            stamp = _stamp(path)
            if stamp == self._stamps.get(name, stamp):
                continue
            self._stamps[name] = stamp
            try:
                same = checksum(path) == expected
            except OSError:
                same = False
            (self._changed.discard if same else self._changed.add)(name)
        return sorted(self._changed)

    def _array(self, name: str) -> Array:
        content = self.read(name)
        head = io.BytesIO(content[: 1 << 16].tobytes())
        try:
            numpy_format: Any = np.lib.format
            first = numpy_format.read_magic(head) == (1, 0)
            header = numpy_format.read_array_header_1_0 if first else numpy_format.read_array_header_2_0
            shape, fortran, dtype = header(head)
        except Exception as error:  # NumPy parses the header as a Python literal, which can raise many exceptions
            raise self.torn(f"holds '{name}', which is not an array") from error
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biuf" or min(shape, default=0) < 0 or size != len(content) - head.tell():
            raise self.torn(f"holds '{name}', which is not an array of numbers of the size that it claims")
        array: Array = content[head.tell() :].view(dtype).reshape(shape, order="F" if fortran else "C")
        return array

    def _damaged(self, name: str) -> ArtifactError:
        return ArtifactError(
            f"{self._folder / name} is missing or damaged", field="artifact", remedy=REMEDY, code="artifact_torn"
        )


class BuildChecks:
    """Check that the contents of a build are consistent, so that no request fails because of them.

    Args:
        files: The files of the build, which create the errors.
        arrays: The arrays of the build by name.
    """

    def __init__(self, files: BuildFiles, arrays: Mapping[str, Array]) -> None:
        self._files = files
        self._arrays = arrays

    def array(
        self,
        name: str,
        shape: tuple[int, ...],
        kinds: str,
        *,
        least: float | None = None,
        below: float | None = None,
    ) -> Array:
        """Return an array after checking its shape and type, and that its values are finite and in range.

        Args:
            name: Name of the array.
            shape: Required shape.
            kinds: Allowed NumPy type strings without the byte order, such as ``i4 i8``.
            least: Minimum value, inclusive.
            below: Maximum value, exclusive.

        Raises:
            ArtifactError: If the array is missing or fails a check.
        """
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype.str[1:] not in kinds.split():
            found = "is missing" if array is None else f"has shape {array.shape} and type {array.dtype}"
            raise self._files.torn(f"is inconsistent: '{name}' {found}, not {shape} of {kinds}")
        if not array.dtype.isnative:
            raise self._files.torn(f"is inconsistent: '{name}' has another byte order than this machine")
        if array.size:
            with np.errstate(invalid="ignore"):
                low, high = array.min(), array.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                raise self._files.torn(f"is inconsistent: '{name}' holds values that are not finite")
            if (least is not None and low < least) or (below is not None and high >= below):
                raise self._files.torn(f"is inconsistent: '{name}' holds {low} to {high}, out of range")
        return array

    def torn(self, problem: str) -> ArtifactError:
        """Create the error for an inconsistent build."""
        return self._files.torn(problem)

    def names(self, given: Collection[str], known: Collection[str], needed: Collection[str], what: str) -> None:
        """Check names in the manifest.

        Raises:
            ArtifactError: If a name is unknown, or a required name is missing.
        """
        odd = sorted({*given} - {*known} | {*needed} - {*given})
        if odd:
            raise self.torn(f"is inconsistent: its {what} are wrong in '{odd[0][:80]}'")

    def offsets(self, name: str, rows: int, length: int) -> Array:
        """Return the offsets of ``rows`` rows after checking that they ascend from 0 to ``length``.

        Raises:
            ArtifactError: If they do not.
        """
        array = self.array(name, (rows + 1,), "i4 i8")
        if array[0] != 0 or array[-1] != length or (np.diff(array) < 0).any():
            raise self._files.torn(f"is inconsistent: '{name}' does not ascend from 0 to {length}")
        return array

    def ids(self, ids: pl.Series, rows: int, name: str, *, ascending: bool = False) -> pl.Series:
        """Check that the ids are ``rows`` distinct strings.

        Raises:
            ArtifactError: If they are not.
        """
        if ids.dtype != pl.String or len(ids) != rows or ids.null_count() or ids.n_unique() != rows:
            raise self._files.torn(f"is inconsistent: '{name}' does not hold {rows} different ids")
        if ascending and not ids.is_sorted():
            raise self._files.torn(f"is inconsistent: the ids in '{name}' do not ascend")
        return ids

    def below(self, positions: pl.Series, length: int, name: str) -> None:
        """Check that positions are at least 0 and less than ``length``.

        Raises:
            ArtifactError: If they are not.
        """
        if not positions.dtype.is_integer() or not positions.is_between(0, length, closed="left").all():
            raise self._files.torn(f"is inconsistent: '{name}' holds positions that are out of range")

    def columns(self, table: pl.DataFrame, names: Iterable[str], name: str) -> pl.DataFrame:
        """Check that a table has these columns and that they hold no nulls.

        Raises:
            ArtifactError: If a column is missing or holds nulls.
        """
        for column in names:
            if column not in table.columns or table[column].null_count():
                raise self._files.torn(f"is inconsistent: '{name}' has no complete column '{column}'")
        return table

    def attributes(self, table: pl.DataFrame, name: str) -> pl.DataFrame:
        """Check that the columns of a table have types that attributes can have.

        Raises:
            ArtifactError: If a column does not.
        """
        for column, kind in table.schema.items():
            if not kind.is_numeric() and kind not in _ATTRIBUTES:
                raise self._files.torn(f"is inconsistent: '{name}' has the column '{column}' of type {kind}")
        return table


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
