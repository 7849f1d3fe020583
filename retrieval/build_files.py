"""The files of a build, read into memory and checked against the manifest.

Files are read, not memory-mapped: a file that somebody truncates or overwrites in place would end the process with
SIGBUS, or change the answers, where it is mapped. What was loaded is what had the right checksum, and stays so.
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
    """Reads the files that a manifest lists.

    Args:
        folder: of the build.
        checksums: SHA-256 of every file, by its path in the folder.

    Raises:
        ArtifactError: a path leads out of the folder.
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
        """The error for a build that cannot be used; ``problem`` is a sentence without its subject."""
        return ArtifactError(f"{self._folder} {problem}", field="artifact", remedy=REMEDY, code="artifact_torn")

    def read(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a file.

        Raises:
            ArtifactError: it is missing, or its content is not what the manifest says.
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
        """Every array of the build by its path without the suffix, writable, in memory.

        Raises:
            ArtifactError: a file is damaged, or is not an array of numbers.
        """
        return {name.removesuffix(".npy"): self._array(name) for name in self._checksums if name.endswith(".npy")}

    def table(self, name: str) -> pl.DataFrame:
        """A Parquet file.

        Raises:
            ArtifactError: it is damaged, or is not Parquet.
        """
        try:
            return pl.read_parquet(io.BytesIO(self.read(name).data))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
            raise self._damaged(name) from error

    def json(self, name: str) -> Any:
        """A JSON file.

        Raises:
            ArtifactError: it is damaged, or is not JSON.
        """
        try:
            return json.loads(self.read(name).tobytes())
        except (ValueError, RecursionError) as error:
            raise self._damaged(name) from error

    def check_rest(self) -> None:
        """Checks the files that were not read.

        Raises:
            ArtifactError: one is missing or damaged.
        """
        for name in self._checksums.keys() - self._stamps.keys():
            self.read(name)

    def changed(self) -> list[str]:
        """Names of the files that no longer are on disk what was read, sorted. Reads only those whose size, time or
        inode differs from the last look.
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
        except Exception as error:  # a header is parsed as a Python literal, which fails in many ways
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
    """Checks that what was read from a build fits together, so that a request cannot fail over it.

    Args:
        files: raises the errors.
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
        """An array of this shape whose values are finite and lie in ``least <= value < below``.

        Args:
            name: of the array.
            shape: that it must have.
            kinds: NumPy type strings without the byte order, such as ``i4 i8``.

        Raises:
            ArtifactError: it is missing or differs.
        """
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype.str[1:] not in kinds.split():
            found = "is missing" if array is None else f"has shape {array.shape} and type {array.dtype}"
            raise self._files.torn(f"does not fit together: '{name}' {found}, not {shape} of {kinds}")
        if not array.dtype.isnative:
            raise self._files.torn(f"does not fit together: '{name}' has another byte order than this machine")
        if array.size:
            with np.errstate(invalid="ignore"):
                low, high = array.min(), array.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                raise self._files.torn(f"does not fit together: '{name}' holds values that are not finite")
            if (least is not None and low < least) or (below is not None and high >= below):
                raise self._files.torn(f"does not fit together: '{name}' holds {low} to {high}, out of range")
        return array

    def torn(self, problem: str) -> ArtifactError:
        """The error of a build that does not fit together."""
        return self._files.torn(problem)

    def names(self, given: Collection[str], known: Collection[str], needed: Collection[str], what: str) -> None:
        """Checks names that the manifest gives.

        Raises:
            ArtifactError: one is unknown, or one that is needed is missing.
        """
        odd = sorted({*given} - {*known} | {*needed} - {*given})
        if odd:
            raise self.torn(f"does not fit together: its {what} are wrong in '{odd[0][:80]}'")

    def offsets(self, name: str, rows: int, length: int) -> Array:
        """Offsets of ``rows`` rows that ascend from 0 to ``length``.

        Raises:
            ArtifactError: they are not.
        """
        array = self.array(name, (rows + 1,), "i4 i8")
        if array[0] != 0 or array[-1] != length or (np.diff(array) < 0).any():
            raise self._files.torn(f"does not fit together: '{name}' does not ascend from 0 to {length}")
        return array

    def ids(self, ids: pl.Series, rows: int, name: str, *, ascending: bool = False) -> pl.Series:
        """So many different ids.

        Raises:
            ArtifactError: they are not.
        """
        if ids.dtype != pl.String or len(ids) != rows or ids.null_count() or ids.n_unique() != rows:
            raise self._files.torn(f"does not fit together: '{name}' does not hold {rows} different ids")
        if ascending and not ids.is_sorted():
            raise self._files.torn(f"does not fit together: the ids in '{name}' do not ascend")
        return ids

    def below(self, positions: pl.Series, length: int, name: str) -> None:
        """Positions from 0 to less than ``length``.

        Raises:
            ArtifactError: they are not.
        """
        if not positions.dtype.is_integer() or not positions.is_between(0, length, closed="left").all():
            raise self._files.torn(f"does not fit together: '{name}' holds positions that are out of range")

    def columns(self, table: pl.DataFrame, names: Iterable[str], name: str) -> pl.DataFrame:
        """A table with these columns, each without nulls.

        Raises:
            ArtifactError: one is missing or has nulls.
        """
        for column in names:
            if column not in table.columns or table[column].null_count():
                raise self._files.torn(f"does not fit together: '{name}' has no complete column '{column}'")
        return table

    def attributes(self, table: pl.DataFrame, name: str) -> pl.DataFrame:
        """A table whose columns are of the types that attributes have.

        Raises:
            ArtifactError: one is not.
        """
        for column, kind in table.schema.items():
            if not kind.is_numeric() and kind not in _ATTRIBUTES:
                raise self._files.torn(f"does not fit together: '{name}' has the column '{column}' of type {kind}")
        return table


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
