"""Findings about a data file: faults and decisions, each with file, column, first row, count and remedy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval.errors import DataError

ROW = "__whyrank_row"
"""Column with the row number in the file. The header is row 1. See :func:`row_of_part` for folders of part files."""
NOTED = "noted"
RowLocator = Callable[[int], tuple[str, int]]
"""Maps a value of :data:`ROW` to the file name and the row in that file."""
_PART = 1 << 40
MOST_SHOWN = 60
"""Maximum length of a value in a message, in characters."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault in a file, or one decision of the reader.

    Args:
        code: Stable name of the kind.
        file: File name.
        column: Column name; empty for the whole file.
        row: First affected row; 0 for a decision about a whole column.
        count: Number of affected rows; 0 for a decision.
        problem: Description, as a clause.
        remedy: How to fix it, as a sentence without a full stop; empty if there is nothing to fix.
        done: ``dropped`` or ``cleaned`` for faults, ``noted`` for decisions.
    """

    code: str
    file: str
    column: str
    row: int
    count: int
    problem: str
    remedy: str
    done: str

    @property
    def is_fault(self) -> bool:
        """Whether it is a fault in the data. Decisions are only reported."""
        return self.done != NOTED

    def __str__(self) -> str:
        where = f"{self.file}, column '{self.column}'" if self.column else self.file
        rows = f" ({self.count:,} rows, the first is {self.row})" if self.count > 1 else f" (row {self.row})"
        rows = rows if self.count else ""
        done = f", {self.done}" if self.is_fault else ""
        return f"{where}: {self.problem}{rows}{done}." + (f" {self.remedy}" if self.remedy else "")


def note(code: str, file: str, column: str, problem: str, remedy: str = "", *, row: int = 0, count: int = 0) -> Finding:
    """Create a decision to report."""
    return Finding(code, file, column, row, count, problem, remedy, NOTED)


def raise_on_faults(findings: Sequence[Finding]) -> None:
    """Refuse data with faults; for ``--strict``.

    Raises:
        DataError: If there is a fault. Lists all of them.
    """
    faults = [finding for finding in findings if finding.is_fault]
    if faults:
        raise DataError(
            "the data have faults:\n" + "\n".join(f"  {finding}" for finding in faults),
            remedy="Correct them, or leave out --strict to drop these rows",
            code=faults[0].code,
        )


def row_of_part(part: int) -> int:
    """Return the offset that keeps the row numbers of a part file distinct within its folder."""
    return part * _PART


def row_locator(files: Sequence[str]) -> RowLocator:
    """Return the locator for a folder of part files."""
    return lambda row: (files[row // _PART], row % _PART)


def quoted(value: object) -> str:
    """Quote and truncate a value for a message."""
    text = str(value)
    return f"'{text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + '…'}'"
