"""Which requests a batch answers: all users, some of them, those with new events, or a file of requests."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from prompts import PromptLibrary
from reranker.batch.rows import BatchEntry, EntryError
from reranker.request import TASKS, PromptChoice, RecommendationRequest
from retrieval import Artifact, InputError, WhyrankError

ScopeKind = Literal["all", "users", "changed", "requests"]
_MOST_LINE = 16 * 2**20
"""Maximum bytes of one request in a file."""


@dataclass(frozen=True)
class Scope:
    """The requests of a batch.

    Args:
        kind: how they were chosen.
        digest: changes if any of the requests does.
        count: number of requests.
        entries: yields the requests in order; may be called several times.
    """

    kind: ScopeKind
    digest: str
    count: int
    entries: Callable[[], Iterable[BatchEntry]]

    def partitions(self, rows: int) -> Iterator[tuple[int, list[BatchEntry]]]:
        """Yield the requests in partitions of ``rows``, each with its number from 0."""
        entries, number = iter(self.entries()), 0
        while part := list(islice(entries, rows)):
            yield number, part
            number += 1

    def sample(self, count: int) -> list[BatchEntry]:
        """Return up to ``count`` requests, spread evenly over all."""
        step = max(self.count // max(count, 1), 1)
        return list(islice(self.entries(), 0, step * count, step))


def users_scope(
    user_ids: Sequence[str],
    request: RecommendationRequest,
    *,
    kind: ScopeKind = "users",
    forgotten: Set[str] = frozenset(),
) -> Scope:
    """Ask the same for each user; an unknown user is recommended popular items.

    Args:
        user_ids: distinct ids.
        request: everything but the user.
        forgotten: users whose fitted history is not used.
    """

    def entries() -> Iterator[BatchEntry]:
        for row, user_id in enumerate(user_ids):
            yield BatchEntry(
                row, replace(request, user_id=user_id, stored_history=user_id not in forgotten), user_id=user_id
            )

    return Scope(
        kind,
        _digest([_described(request), *user_ids, "", *sorted(forgotten & set(user_ids))]),
        len(user_ids),
        entries,
    )


def changed_users(artifact: Artifact, since: int) -> list[str]:
    """Return the users with an interaction at or after a time.

    Args:
        since: seconds since 1970.

    Raises:
        InputError: If the data hold no times.
    """
    if artifact.log.newest is None:
        raise InputError("the data hold no times", field="--changed-since", code="no_times")
    changed = np.unique(artifact.log.users()[artifact.log.timestamps >= since])
    return [artifact.user_ids[position] for position in changed]


def requests_scope(
    path: Path, parse: Callable[[bytes], tuple[str | None, RecommendationRequest]], *, default: RecommendationRequest
) -> Scope:
    """Read requests from a file of JSON lines; a line that cannot be read becomes a row with an error.

    Args:
        parse: returns the caller's id of a line, if it has one, and its request; raises a
            :class:`~retrieval.WhyrankError` if the line is wrong.
        default: what a line leaves out; another default makes another scope.

    Raises:
        InputError: If the file cannot be read or has no line.
    """
    digest, count = hashlib.sha256(_described(default).encode()), 0
    for _, line in _lines(path):
        digest.update(line)
        count += 1
    if not count:
        raise InputError(f"{path} holds no request", field="--requests", code="no_requests")

    def entries() -> Iterator[BatchEntry]:
        for row, (number, line) in enumerate(_lines(path)):
            try:
                if len(line) > _MOST_LINE:
                    raise InputError(f"is larger than {_MOST_LINE:,} bytes", field=f"line {number}", code="too_large")
                request_id, request = parse(line)
            except WhyrankError as error:
                yield BatchEntry(row, EntryError(error.code, f"line {number}: {error}"))
            else:
                yield BatchEntry(row, request, request_id, request.user_id)

    return Scope("requests", digest.hexdigest(), count, entries)


def pin_prompts(request: RecommendationRequest, library: PromptLibrary) -> RecommendationRequest:
    """Name the versions of the templates, so that a promotion cannot mix two versions in one batch.

    Raises:
        InputError: If the request names a template that does not exist.
        TemplateError: If the template in production cannot be read.
    """
    names = {task: request.prompts.template(task, library, request.locale).reference for task in TASKS}
    return replace(request, prompts=PromptChoice(**names))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1; a line that is too long is cut."""
    try:
        with path.open("rb") as stream:
            number = 0
            while line := stream.readline(_MOST_LINE + 2):
                number += 1
                whole = line
                while not whole.endswith(b"\n") and (whole := stream.readline(2**20)):
                    pass  # the rest of a line that is too long
                if line := line.removeprefix(b"\xef\xbb\xbf").strip():
                    yield number, line
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error})", field="--requests", code="unreadable_file"
        ) from error


def _described(request: RecommendationRequest) -> str:
    """Describe a request by its content; the order of a set is not the same in every process."""
    return repr(replace(request, withdrawn=frozenset())) + repr(sorted(request.withdrawn))


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
