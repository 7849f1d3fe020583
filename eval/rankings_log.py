"""Log of the arms' answers: one line per arm and user, appended."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict


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


def user_key(user: str) -> str:
    """Return the hash by which the log names a user."""
    return hashlib.sha256(user.encode()).hexdigest()[:16]


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
