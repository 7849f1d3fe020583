"""What was found in a data file: each kind of fault or decision with its file, column, first row, count and remedy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval.errors import DataError

ROW = "__whyrank_row"
"""Row in the file, the header being row 1; in a folder of part files, :func:`row_of_part`."""
NOTED = "noted"
_PART = 1 << 40
MOST_SHOWN = 60
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault in one file, or one decision that the reader took.

    Args:
        code: stable name of the kind.
        file: name of the file.
        column: name of the column; empty for the whole file.
        row: the first row that has it; 0 for a decision about a whole column.
        count: how many rows have it; 0 for a decision.
        problem: what is so, as a clause.
        remedy: what to do about it, as a sentence without a full stop; empty where nothing is to be done.
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
        """Whether the data should be corrected; decisions are only reported."""
        return self.done != NOTED

    def __str__(self) -> str:
        where = f"{self.file}, column '{self.column}'" if self.column else self.file
        rows = "" if not self.count else f" ({'row' if self.count == 1 else f'{self.count:,} rows, the first is'} "
        rows = rows and f"{rows}{self.row})"
        done = f", {self.done}" if self.is_fault else ""
        return f"{where}: {self.problem}{rows}{done}." + (f" {self.remedy}" if self.remedy else "")


def note(code: str, file: str, column: str, problem: str, remedy: str = "", *, row: int = 0, count: int = 0) -> Finding:
    """A decision of the reader that the user should know."""
    return Finding(code, file, column, row, count, problem, remedy, NOTED)


def raise_on_faults(findings: Sequence[Finding]) -> None:
    """Raise if there is any fault; for ``--strict``.

    Raises:
        DataError: lists all faults.
    """
    faults = [finding for finding in findings if finding.is_fault]
    if faults:
        raise DataError(
            "the data have faults:\n" + "\n".join(f"  {finding}" for finding in faults),
            remedy="Correct them, or leave out --strict to drop these rows",
            code=faults[0].code,
        )


def row_of_part(part: int) -> int:
    """What to add to the row numbers of a part file so that they stay distinct within a folder."""
    return part * _PART


def row_locator(files: Sequence[str]) -> Callable[[int], tuple[str, int]]:
    """A function from a value of :data:`ROW` to the name of the file and the row in it."""
    return lambda row: (files[row // _PART], row % _PART)


def quoted(value: object) -> str:
    """A value for a message: quoted and cut."""
    text = str(value)
    return f"'{text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + '…'}'"
