"""``/v1/items``: browse and search the catalog."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.http.dependencies import RetrieverDep
from api.http.models import Limit, Offset
from api.http.problems import Refused, responses
from retrieval import Item, NotFoundError, RetrievalRequest, Retriever, Source

router = APIRouter(prefix="/v1/items", tags=["items"], responses=responses())


class ItemBody(BaseModel):
    """One entry of the catalog."""

    item_id: str = Field(examples=["1"])
    title: str = Field(examples=["Toy Story"])
    attributes: dict[str, str | int | float | bool | list[str]] = Field(examples=[{"year": 1995}])

    @classmethod
    def of(cls, item: Item) -> "ItemBody":
        """Convert an item."""
        attributes = {
            name: list(value) if isinstance(value, tuple) else value for name, value in item.attributes.items()
        }
        return cls(item_id=item.item_id, title=item.title, attributes=attributes)


class ItemPage(BaseModel):
    """Part of the catalog."""

    items: list[ItemBody]
    next_offset: int | None = Field(description="where the next page begins; null on the last one")


class SimilarItem(ItemBody):
    """A similar item."""

    similarity: float = Field(description="cosine of the factors, 1 is the most")


class SimilarItems(BaseModel):
    """Items that the same users like, best first."""

    items: list[SimilarItem]


@router.get("")
async def search_items(
    retriever: RetrieverDep,
    query: Annotated[
        str | None,
        Query(min_length=1, max_length=2000, description="words of title and attributes; best match first"),
    ] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> ItemPage:
    """List the catalog in its own order, or search it, best match first."""
    catalog = retriever.catalog
    end = offset + limit
    if query is None:
        found = [catalog.item(position) for position in range(min(offset, len(catalog)), min(end, len(catalog)))]
        more = end < len(catalog)
    else:
        wanted = RetrievalRequest(query=query, count=min(end + 1, len(catalog)))
        matches = (await asyncio.to_thread(retriever.retrieve, wanted)).candidates
        # After the matches, retrieval fills up with popular items.
        items = [candidate.item for candidate in matches if candidate.source is Source.text]
        found, more = items[offset:end], len(items) > end
    return ItemPage(items=[ItemBody.of(item) for item in found], next_offset=end if more else None)


@router.get("/{item_id:path}/similar", responses=responses(404))
async def similar_items(item_id: str, retriever: RetrieverDep, limit: Limit = 10) -> SimilarItems:
    """List items that the same users like, best first."""
    _known(retriever, item_id)
    similar = await asyncio.to_thread(retriever.similar, item_id, limit)
    return SimilarItems(
        items=[
            SimilarItem(**ItemBody.of(match.item).model_dump(), similarity=min(max(match.score, -1.0), 1.0))
            for match in similar
        ]
    )


@router.get("/{item_id:path}", responses=responses(404))
async def read_item(item_id: str, retriever: RetrieverDep) -> ItemBody:
    """Read one item."""
    return ItemBody.of(_known(retriever, item_id))


def _known(retriever: Retriever, item_id: str) -> Item:
    try:
        return retriever.item(item_id)
    except NotFoundError as error:
        raise Refused(404, error) from error
