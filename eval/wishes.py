"""Judge answers to wishes in words: do the first items satisfy the wish, and is what people then chose among them?"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from eval.compare import Difference, Mean, compare, interval
from eval.metrics import PerUser
from reranker import WishReader
from retrieval import InputError, Interaction, Item, RetrievalRequest, Retriever, Wish

WISH_ARMS = ("popular", "words", "titles", "conditions", "embeddings", "all")
"""Ways to answer a wish: popularity, its words as they are, one part of what is understood, and everything."""
FIRST = 5
"""Items that have to satisfy a wish for attributes."""
RECALL_AT = (1, 10, 50)
_LARGEST_FILE = 256 << 20


class AttributeWish(BaseModel):
    """A wish for attributes, and what satisfies it.

    Args:
        all_of: values that the item has all of.
        none_of: values that the item has none of.
        year_from, year_to: years that the item is from, inclusive.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    wish: str = Field(min_length=1, max_length=2000)
    locale: str = "en"
    all_of: tuple[str, ...]
    none_of: tuple[str, ...] = ()
    year_from: float | None = None
    year_to: float | None = None

    def satisfied(self, item: Item) -> bool:
        """Whether an item satisfies the wish, by all its attributes."""
        values = {
            str(one) for value in item.attributes.values() for one in (value if isinstance(value, tuple) else (value,))
        }
        if not values.issuperset(self.all_of) or not values.isdisjoint(self.none_of):
            return False
        if self.year_from is None and self.year_to is None:
            return True
        year = item.attributes.get("year")
        if not isinstance(year, int | float):
            return False
        return (self.year_from or -math.inf) <= year <= (self.year_to or math.inf)


class ConversationWish(BaseModel):
    """What somebody asked for in a conversation, and what was then recommended.

    Args:
        wish: all that the person said.
        named: ids of items that were mentioned; they count as liked, and are never recommended.
        relevant: ids of what was then recommended.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    wish: str = Field(min_length=1)
    locale: str = "en"
    named: tuple[str, ...] = ()
    relevant: tuple[str, ...] = Field(min_length=1)


WishCase = AttributeWish | ConversationWish
_CASES: TypeAdapter[WishCase] = TypeAdapter(Annotated[WishCase, Field(union_mode="left_to_right")])


class WishFigures(BaseModel):
    """Means of one metric over the wishes of one kind.

    Args:
        metric: ``satisfied@5`` or ``recall@k``.
        group: the locale of wishes for attributes, or ``conversations``.
        means: by arm.
        differences: of every arm to searching for the words.
    """

    metric: str
    group: str
    wishes: int
    means: dict[str, Mean]
    differences: list[Difference]


class WishReport(BaseModel):
    """How well wishes are answered."""

    data: str
    embedder: str | None
    figures: list[WishFigures]


def read_wishes(file: Path) -> list[WishCase]:
    """Read wishes from JSON lines: for attributes (``wish`` and ``all_of``) or of conversations (``wish`` and
    ``relevant``).

    Raises:
        InputError: If the file cannot be read, or a line is neither; names the line.
    """
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(f"is larger than {_LARGEST_FILE >> 20} MiB", field="--wishes", code="too_large")
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{file}' cannot be read ({error})", field="--wishes", code="unreadable") from error
    cases = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            cases.append(_CASES.validate_python(json.loads(line)))
        except (ValueError, RecursionError, ValidationError) as error:
            raise InputError(
                f"line {number} of '{file}' is neither a wish for attributes nor one of a conversation",
                field="--wishes",
                remedy="Give wish and all_of (none_of, year_from, year_to), or wish and relevant (named)",
                code="invalid_wish",
            ) from error
    if not cases:
        raise InputError(f"'{file}' holds no wishes", field="--wishes", code="empty")
    return cases


def judge_wishes(
    retriever: Retriever,
    cases: Sequence[WishCase],
    arms: Sequence[str] = WISH_ARMS,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> WishReport:
    """Answer all wishes with every arm, and compare the arms.

    Nothing is fitted here. Weights and thresholds that were chosen on some of the wishes make their figures optimistic.

    Raises:
        InputError: If an arm is unknown.
    """
    if unknown := sorted({*arms} - {*WISH_ARMS}):
        raise InputError(
            f"there is no arm '{unknown[0]}'", field="--arms", remedy=f"Use {', '.join(WISH_ARMS)}", code="unknown_arm"
        )
    catalog, manifest = retriever.catalog, retriever.manifest
    reader = WishReader(catalog, manifest.noun, retriever.popularity(), retriever.wishes.embedder)
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for place, case in enumerate(cases):
        wish = reader.read(case.wish).wish
        for arm in arms:
            for metric, value in _judged(retriever, case, wish, arm).items():
                group = case.locale if isinstance(case, AttributeWish) else "conversations"
                values.setdefault((group, metric), {}).setdefault(arm, []).append(value)
        if progress:
            progress(place + 1)
    return WishReport(
        data=manifest.dataset,
        embedder=manifest.embedder if retriever.wishes.embedder else None,
        figures=[_figures(group, metric, own, seed) for (group, metric), own in sorted(values.items())],
    )


def _figures(group: str, metric: str, own: Mapping[str, list[float]], seed: int) -> WishFigures:
    table: dict[str, PerUser] = {arm: np.array(values) for arm, values in own.items()}
    return WishFigures(
        metric=metric,
        group=group,
        wishes=len(next(iter(table.values()))),
        means={arm: interval(values, seed=seed) for arm, values in table.items()},
        differences=compare(table, [(arm, "words") for arm in table if arm != "words"], seed=seed)
        if "words" in table
        else [],
    )


def _judged(retriever: Retriever, case: WishCase, wish: Wish, arm: str) -> dict[str, float]:
    conversation = isinstance(case, ConversationWish)
    count = min(max(RECALL_AT) if conversation else FIRST, len(retriever.catalog))
    newer = [Interaction(item_id, "like") for item_id in case.named] if isinstance(case, ConversationWish) else []
    named = case.named if isinstance(case, ConversationWish) else ()
    request = RetrievalRequest(count=count, exclude_ids=named, diversify=True)
    if arm == "words":
        request = replace(request, query=case.wish)
    elif arm != "popular":
        known = newer if arm in ("titles", "all") else []
        request = replace(request, wish=_part(wish, case.wish, arm), newer=known)
    items = [candidate.item for candidate in retriever.retrieve(request).candidates]
    if isinstance(case, AttributeWish):
        return {f"satisfied@{FIRST}": sum(map(case.satisfied, items[:FIRST])) / FIRST}
    ids = [item.item_id for item in items]
    relevant = set(case.relevant)
    return {f"recall@{k}": len(relevant.intersection(ids[:k])) / len(relevant) for k in RECALL_AT}


def _part(wish: Wish, text: str, arm: str) -> Wish:
    """The part of a wish that an arm uses."""
    if arm == "titles":
        return Wish("", wish.liked, wish.disliked, method=wish.method)
    if arm == "conditions":
        return Wish("", conditions=wish.conditions, method=wish.method)
    if arm == "embeddings":
        return Wish(text, method=wish.method)
    return wish


def wishes_text(report: WishReport) -> str:
    """Render the figures as a table."""
    lines = [f"wishes about {report.data}; embeddings: {report.embedder or 'none'}"]
    for figures in report.figures:
        lines += ["", f"{figures.metric} of {figures.wishes} wishes ({figures.group}), 95 % intervals"]
        by_arm = {one.arm: one for one in figures.differences}
        for arm, mean in figures.means.items():
            line = f"  {arm:<11} {mean.mean:.4f} ({mean.low:.4f} to {mean.high:.4f})"
            if arm in by_arm:
                one = by_arm[arm]
                line += f"  {one.difference:+.4f} ({one.low:+.4f} to {one.high:+.4f}) against words"
            lines.append(line)
    return "\n".join(lines)
