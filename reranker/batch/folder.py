"""The output folder of a batch: shards that are whole or absent, a manifest that comes last, and a pointer to it.

::

    <folder>/
    ├── CURRENT              name of the newest finished run; replacing this file publishes it
    ├── PREVIOUS             name of the finished run before it, which is kept
    ├── .lock                locked while a batch writes
    └── run-<hash>/          one run; the hash depends on everything that its rows depend on
        ├── shard-00000.parquet
        ├── carried-00000.parquet    rows of users without new events, from the run before (``--changed-since``)
        └── manifest.json    written when every shard is there
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from reranker.batch.rows import ROW_SCHEMA, RowCounts
from retrieval import WhyrankError, flush_to_disk, read_small_file

MANIFEST = "manifest.json"
_CURRENT, _PREVIOUS, _LOCK = "CURRENT", "PREVIOUS", ".lock"
_RUN = re.compile(r"run-[0-9a-f]{16}")
_SHARD = re.compile(r"shard-(\d{5,})\.parquet")
_LARGEST_MANIFEST = 64 * 2**20


class BatchError(WhyrankError):
    """A batch cannot go on."""


class ShardFile(BaseModel):
    """A file of a run and its number of rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rows: int


class BatchManifest(BaseModel):
    """Description of a finished run.

    Args:
        run: name of the run's folder.
        scope: how the requests were chosen.
        changed_since: seconds since 1970, if only users with newer interactions were answered again.
        artifact: build that the rows come from; carried rows may come from an older one.
        data: name of the data set.
        rows: number of answered requests, errors included, and carried rows not.
        carried: number of rows from the run before.
        counts: totals over the answered requests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    whyrank: str
    run: str
    created: datetime
    scope: str
    changed_since: int | None
    artifact: str
    data: str
    data_hash: str
    rows: int
    carried: int
    counts: RowCounts
    shards: tuple[ShardFile, ...]


class BatchFolder:
    """The output folder of batches.

    Args:
        path: the folder; it is made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other batches out of the folder.

        Raises:
            BatchError: If the folder cannot be written to, holds other files, or another batch writes to it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            known = {_CURRENT, _PREVIOUS, _LOCK}
            for found in sorted(self.path.iterdir()):
                if found.name not in known and not found.name.startswith(".tmp-") and not _RUN.fullmatch(found.name):
                    raise _folder_error(
                        f"{self.path} holds '{found.name}', which no batch wrote", "Name an empty folder", "not_empty"
                    )
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise self._unwritable(error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise _folder_error(
                    f"another batch is writing to {self.path}", "Wait for its end, or name another folder", "locked"
                ) from error
            yield

    def current(self) -> BatchManifest | None:
        """Read the manifest of the newest finished run; None if there is none.

        Raises:
            BatchError: If it is damaged.
        """
        name = self._pointed(_CURRENT)
        if name is None:
            return None
        file = self.path / name / MANIFEST
        try:
            return BatchManifest.model_validate_json(read_small_file(file, _LARGEST_MANIFEST))
        except (OSError, ValidationError) as error:
            raise _folder_error(
                f"{file} cannot be read ({error!s:.300})", "Name another folder, or delete this one", "damaged"
            ) from error

    def finished(self, run: str) -> bool:
        """Return whether a run is the newest finished one."""
        return self._pointed(_CURRENT) == run and (self.path / run / MANIFEST).is_file()

    def shards(self, run: str) -> dict[int, ShardFile]:
        """Return the shards of a run that are there, by number."""
        folder, found = self.path / run, dict[int, ShardFile]()
        for path in sorted(folder.glob("shard-*.parquet")) if folder.is_dir() else ():
            if match := _SHARD.fullmatch(path.name):
                found[int(match[1])] = ShardFile(name=path.name, rows=_count_rows(path))
        return found

    def write_shard(self, run: str, number: int, table: pl.DataFrame, *, kind: str = "shard") -> ShardFile:
        """Write a shard; a reader sees it whole or not at all.

        Raises:
            BatchError: If it cannot be written.
        """
        folder = self.path / run
        name = f"{kind}-{number:05d}.parquet"
        scratch = self.path / f".tmp-{name}"
        try:
            folder.mkdir(exist_ok=True)
            table.write_parquet(scratch)
            flush_to_disk(scratch)
            scratch.replace(folder / name)
            flush_to_disk(folder)
        except (OSError, pl.exceptions.ComputeError) as error:
            scratch.unlink(missing_ok=True)
            raise self._unwritable(error) from error
        return ShardFile(name=name, rows=table.height)

    def read_shard(self, run: str, shard: ShardFile) -> pl.DataFrame:
        """Read the rows of a shard."""
        return pl.read_parquet(self.path / run / shard.name)

    def remove_shard(self, run: str, number: int) -> None:
        """Remove a shard, so that it is written again."""
        (self.path / run / f"shard-{number:05d}.parquet").unlink(missing_ok=True)

    def carry(self, run: str, *, answered: Set[str], known: Set[str]) -> list[ShardFile]:
        """Copy the rows of the newest finished run to another one.

        Args:
            answered: users whose rows are not copied, since the run has new ones.
            known: users of the artifact; rows of others are not copied.
        """
        before = self.current()
        if before is None:
            return []
        kept = list[ShardFile]()
        users = pl.col("user_id")
        for number, shard in enumerate(before.shards):
            rows = self.read_shard(before.run, shard)
            rows = rows.filter(users.is_in(list(known)) & ~users.is_in(list(answered)))
            if rows.height:
                rows = rows.with_columns(row=pl.lit(None, ROW_SCHEMA["row"]))
                kept.append(self.write_shard(run, number, rows, kind="carried"))
        return kept

    def publish(self, manifest: BatchManifest) -> None:
        """Write the manifest of a run, make the run the current one, and remove obsolete runs.

        Raises:
            BatchError: If the folder cannot be written to.
        """
        before = self._pointed(_CURRENT)
        try:
            self._write(self.path / manifest.run / MANIFEST, manifest.model_dump_json(indent=2))
            if before not in (None, manifest.run):
                self._write(self.path / _PREVIOUS, str(before))
            self._write(self.path / _CURRENT, manifest.run)
        except OSError as error:
            raise self._unwritable(error) from error
        kept = {manifest.run, self._pointed(_PREVIOUS)}
        for found in self.path.iterdir():
            if _RUN.fullmatch(found.name) and found.name not in kept:
                shutil.rmtree(found, ignore_errors=True)
            elif found.name.startswith(".tmp-"):
                found.unlink(missing_ok=True)

    def forget(self, user_id: str) -> int:
        """Remove a user's rows from all runs that are kept; return their number.

        Raises:
            BatchError: If the folder cannot be written to, or a batch writes to it.
        """
        removed = 0
        with self.locked():
            for run in sorted(path.name for path in self.path.iterdir() if _RUN.fullmatch(path.name)):
                rows = dict[str, int]()
                for file in sorted((self.path / run).glob("*.parquet")):
                    table = pl.read_parquet(file)
                    kept = table.filter(pl.col("user_id").ne_missing(user_id))
                    if kept.height < table.height:
                        kind, number = file.stem.rsplit("-", 1)
                        rows[file.name] = self.write_shard(run, int(number), kept, kind=kind).rows
                        removed += table.height - kept.height
                if rows:
                    self._correct(run, rows)
        return removed

    def _correct(self, run: str, rows: Mapping[str, int]) -> None:
        """Write the new numbers of rows into the manifest of a run, if it is finished."""
        file = self.path / run / MANIFEST
        if not file.is_file():
            return
        manifest = BatchManifest.model_validate_json(read_small_file(file, _LARGEST_MANIFEST))
        shards = tuple(shard.model_copy(update={"rows": rows.get(shard.name, shard.rows)}) for shard in manifest.shards)
        fewer = {kind: sum(one.rows for one in shards if one.name.startswith(kind)) for kind in ("shard-", "carried-")}
        counted = {"shards": shards, "rows": fewer["shard-"], "carried": fewer["carried-"]}
        self._write(file, manifest.model_copy(update=counted).model_dump_json(indent=2))

    def _write(self, path: Path, text: str) -> None:
        scratch = self.path / f".tmp-{path.name}"
        with scratch.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
        flush_to_disk(path.parent)

    def _pointed(self, pointer: str) -> str | None:
        try:
            name = read_small_file(self.path / pointer, 256).decode("ascii", "replace").strip()
        except OSError:
            return None
        return name if _RUN.fullmatch(name) else None

    def _unwritable(self, error: Exception) -> BatchError:
        return _folder_error(
            f"the batch cannot be written to {self.path} ({error!s:.300})",
            "Check the permissions and the free disk space, and start the same command again: it goes on from the "
            "shards that are finished",
            "unwritable",
        )


def _count_rows(path: Path) -> int:
    """Return the number of rows of a shard; -1 if it cannot be read."""
    try:
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError):
        return -1


def _folder_error(message: str, remedy: str, code: str) -> BatchError:
    return BatchError(message, field="--output", remedy=remedy, code=f"batch_{code}")
