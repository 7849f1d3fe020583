"""Log of the arms' answers: one line per arm and user, appended."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from prompts import write_atomically


class RankingRow(BaseModel):
    """One arm's answer for one user, as logged.

    Args:
        user: hash of the user's id.
        ranking: item ids, best first; None if the arm did not answer.
        missing: code of the error instead.
        seconds: duration of the read when it was made.
        order_tau: Kendall's tau between two reads of the same candidates in different orders.
        order_flip: whether their first items differ.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    user: str
    ranking: list[str] | None = None
    missing: str | None = None
    seconds: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    label_mass: float | None = None
    repairs: int | None = None
    order_tau: float | None = None
    order_flip: bool | None = None


RANKINGS = "rankings.jsonl"
"""Name of the log in a run's folder."""


def user_key(user: str) -> str:
    """Return the hash by which the log names a user."""
    return hashlib.sha256(user.encode()).hexdigest()[:16]


def forget_in_runs(out: Path, user: str) -> tuple[int, int]:
    """Remove a user from the runs below a folder: the lines of the rankings, and whole reports that hold the user.

    Returns:
        The numbers of lines and of reports removed.

    Raises:
        OSError: If a file cannot be written.
    """
    key, lines, reports = user_key(user), 0, 0
    for log in sorted(out.glob(f"*/{RANKINGS}")):
        found = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in found if f'"user":"{key}"' not in line]
        if len(kept) < len(found):
            write_atomically(log, "".join(kept))
            lines += len(found) - len(kept)
    for report in sorted(out.glob("**/report.json")):
        if key in report.read_text(encoding="utf-8"):
            for file in report.parent.iterdir() if report.parent.name == "report" else [report]:
                file.unlink()
            reports += 1
    return lines, reports


class RankingsLog:
    """The append-only log of a run. Logged answers are not run again; errors are."""

    def __init__(self, file: Path) -> None:
        self.rows: dict[str, dict[str, RankingRow]] = {}
        self._file = file
        kept = []
        if file.exists():
            for line in file.read_text().splitlines():
                try:
                    row = RankingRow.model_validate_json(line)
                except ValueError:
                    continue  # the line that a killed run was writing
                kept.append(line)
                self.rows.setdefault(row.arm, {})[row.user] = row
            file.write_text("".join(f"{line}\n" for line in kept))

    def has(self, arm: str, user: str) -> bool:
        """Return whether there is an answer for a user."""
        row = self.rows.get(arm, {}).get(user_key(user))
        return row is not None and row.missing is None

    def add(self, row: RankingRow) -> None:
        """Append a row, which replaces an earlier one."""
        self.rows.setdefault(row.arm, {})[row.user] = row
        with self._file.open("a") as file:
            file.write(row.model_dump_json(exclude_defaults=True) + "\n")
