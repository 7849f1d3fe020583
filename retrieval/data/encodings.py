"""Decompress files and transcode them to UTF-8, by byte order mark, content or setting."""

import bz2
import codecs
import gzip
import io
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

import zstandard

from retrieval.data.findings import Finding, note
from retrieval.errors import DataError

Opener = Callable[[Path], io.BufferedIOBase]
HEAD = 1 << 18
"""Number of bytes at the beginning of a file that detection uses."""
_COMPRESSED: dict[bytes, Opener | None] = {
    b"\x1f\x8b": lambda path: gzip.GzipFile(path),  # closed by its user
    b"\x28\xb5\x2f\xfd": None,
    b"BZh": lambda path: bz2.BZ2File(path),
    b"\xfd7zXZ\x00": lambda path: lzma.LZMAFile(path),  # noqa: SIM115
}
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decompressed(path: Path, name: str, scratch: Path) -> Path:
    """Return the file, or a decompressed copy if it is compressed.

    Raises:
        DataError: If it cannot be decompressed.
    """
    start = read_head(path)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            return _decompressed(path, name, scratch, opener)
    return path


def as_utf8(path: Path, name: str, scratch: Path, encoding: str | None) -> tuple[Path, tuple[Finding, ...]]:
    """Return the file if it is UTF-8, else a copy in UTF-8 with line feeds as line ends.

    Raises:
        DataError: If it is not text, or not in the stated encoding.
    """
    start = read_head(path)
    found = next((coding for mark, coding in _BOMS if start.startswith(mark)), encoding)
    if found is None and b"\0" in start[:4096]:
        even, odd = start[:4096:2].count(0), start[1:4096:2].count(0)
        if max(even, odd) < len(start[:4096]) // 4:
            raise DataError(f"{name} is not text", field=name, remedy="Use CSV, JSON lines or Parquet", code="bad_file")
        found = "utf-16-be" if even > odd else "utf-16-le"
    if found == encoding and found is not None and undecodable_row(path) is None:
        found = None  # the stated encoding may be that of the other file; text that decodes as UTF-8 is UTF-8
    is_old_mac = b"\r" in start and b"\n" not in start
    if found in (None, "utf-8-sig") and not is_old_mac and not start.startswith(codecs.BOM_UTF8):
        return path, ()
    target = scratch_file(scratch)
    try:
        with path.open(encoding=found or "utf-8") as source, target.open("w", encoding="utf-8", newline="") as sink:
            shutil.copyfileobj(source, sink, HEAD)
    except UnicodeError as error:
        raise DataError(
            f"{name} is not in {found} ({error})",
            field=name,
            remedy="Save it as UTF-8, or set data.encoding",
            code="bad_file",
        ) from error
    if found in ("utf-8-sig", None):
        return target, ()
    return target, (note("encoding", name, "", f"its text is read as {found}"),)


def _decompressed(path: Path, name: str, scratch: Path, opener: Opener | None) -> Path:
    target = scratch_file(scratch)
    try:
        with target.open("wb") as sink:
            if opener is None:
                _unpack_zst(path, sink)
            else:
                with opener(path) as source:
                    shutil.copyfileobj(source, sink, HEAD)
    except (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(
            f"{name} cannot be decompressed ({first_line(error)})",
            field=name,
            remedy="It may be truncated: download or write it again",
            code="bad_file",
        ) from error
    return target


def _unpack_zst(path: Path, sink: IO[bytes]) -> None:
    """Decompress all frames. The library's reader does not detect a truncated file."""
    with path.open("rb") as source:
        frame = zstandard.ZstdDecompressor().decompressobj()
        chunk = source.read(HEAD)
        while chunk:
            sink.write(frame.decompress(chunk))
            chunk = frame.unused_data or source.read(HEAD)
            if frame.eof and chunk:
                frame = zstandard.ZstdDecompressor().decompressobj()
        if not frame.eof:
            raise EOFError("compressed file ended early")


def undecodable_row(path: Path) -> int | None:
    """Return the number of the first line that is not UTF-8, counted from 1; None if there is none."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def not_utf8(path: Path, name: str, row: int) -> DataError:
    """Create the error for a file that is not UTF-8, with the most likely encoding."""
    with path.open("rb") as stream:
        line = next(line for number, line in enumerate(stream, start=1) if number == row)
    # In GB2312, every character beyond ASCII is two bytes above 0x7F.
    guess = "gb18030" if _decodes(line, "gb2312") else "windows-1252" if _decodes(line, "windows-1252") else "latin-1"
    return DataError(
        f"{name} is not UTF-8 in row {row}; it may be {guess}",
        field=name,
        remedy=f'Save it as UTF-8, or set data.encoding = "{guess}"',
        code="bad_file",
    )


def _decodes(line: bytes, coding: str) -> bool:
    try:
        line.decode(coding)
    except UnicodeDecodeError:
        return False
    return True


def read_head(path: Path) -> bytes:
    """Read the beginning of a file."""
    with path.open("rb") as stream:
        return stream.read(HEAD)


def scratch_file(scratch: Path) -> Path:
    """Return an unused path in a scratch folder."""
    return scratch / f"{len(list(scratch.iterdir()))}.copy"


def first_line(error: Exception) -> str:
    """Return the first line of an error message, truncated."""
    return (str(error).strip().splitlines() or ["no details"])[0][:200]
