"""``/v1/items``: browse and search the catalog."""

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from api.http.dependencies import RetrieverDep, ServiceDep
from api.http.json_body import JsonRoute
from api.http.keys import KeyScope
from api.http.models import Id, Limit, Offset
from api.http.problems import Refused, responses
from api.http.security import needs
from retrieval import (
    InputError,
    Item,
    NotFoundError,
    RetrievalRequest,
    Retriever,
    Source,
    Store,
    StoredItem,
    checked_id,
)

router = APIRouter(prefix="/v1/items", tags=["items"], responses=responses(), route_class=JsonRoute)


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


@router.get("", dependencies=[needs(KeyScope.recommend)])
async def search_items(
    retriever: RetrieverDep,
    service: ServiceDep,
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
    withdrawn = service.feedback.withdrawn
    if query is None:
        found = [catalog.item(position) for position in range(min(offset, len(catalog)), min(end, len(catalog)))]
        found, more = [item for item in found if item.item_id not in withdrawn], end < len(catalog)
    else:
        wanted = RetrievalRequest(query=query, withdrawn=withdrawn, count=min(end + 1, len(catalog)))
        matches = (await asyncio.to_thread(retriever.retrieve, wanted)).candidates
        # Retrieval adds popular items after the matches.
        items = [candidate.item for candidate in matches if candidate.source is Source.text]
        found, more = items[offset:end], len(items) > end
    return ItemPage(items=[ItemBody.of(item) for item in found], next_offset=end if more else None)


class PutItemBody(BaseModel):
    """A new or changed item."""

    model_config = ConfigDict(extra="forbid", strict=True)

    item_id: Id
    title: str = Field(min_length=1, max_length=1000)
    attributes: dict[str, str | bool | int | float | list[str]] = Field(default_factory=dict, max_length=200)

    def to_item(self, place: int) -> StoredItem:
        """Convert to an item of the store.

        Raises:
            InputError: If the id cannot be one, or a text holds a null character.
        """
        if "\x00" in json.dumps([self.title, self.attributes], ensure_ascii=False).replace("\\u0000", "\x00"):
            raise InputError("holds a null character", field=f"items.{place}", code="invalid_field")
        return StoredItem(checked_id(self.item_id, f"items.{place}.item_id"), self.title, self.attributes)


class PutItemsBody(BaseModel):
    """Items to add or replace."""

    model_config = ConfigDict(extra="forbid", strict=True)

    items: list[PutItemBody] = Field(min_length=1, max_length=1000, fail_fast=True)


class ChangedItems(BaseModel):
    """How many items were stored."""

    items: int
    changed: int = Field(description="those that were new or different")


@router.put("", responses=responses(503), dependencies=[needs(KeyScope.admin, administers=True)])
async def put_items(body: PutItemsBody, service: ServiceDep) -> ChangedItems:
    """Add or replace items; idempotent. Events may name them at once. A withdrawn item is shown again."""
    items = [item.to_item(place) for place, item in enumerate(body.items)]
    ids = {item.item_id for item in items}
    if len(ids) < len(items):
        raise InputError("names an item twice", field="items", remedy="Name each item once", code="duplicate_item")
    changed = await service.feedback.call(lambda store: store.put_items(items))
    await service.feedback.known(None)
    return ChangedItems(items=len(items), changed=changed)


@router.delete(
    "/{item_id:path}",
    status_code=204,
    responses=responses(404, 503),
    dependencies=[needs(KeyScope.admin, administers=True)],
)
async def withdraw_item(item_id: str, retriever: RetrieverDep, service: ServiceDep) -> None:
    """Withdraw an item: it is hidden until it is put again. Idempotent."""
    plain = checked_id(item_id, "item_id")
    position = retriever.catalog.position(plain)

    def work(store: Store) -> None:
        if position is None and not store.known_items([plain]):
            raise Refused(404, NotFoundError("there is no such item", field="item_id", code="unknown_item"))
        store.withdraw(plain)

    await service.feedback.call(work)
    await service.feedback.known(None)


@router.get("/{item_id:path}/similar", responses=responses(404), dependencies=[needs(KeyScope.recommend)])
async def similar_items(item_id: str, retriever: RetrieverDep, service: ServiceDep, limit: Limit = 10) -> SimilarItems:
    """List items that the same users like, best first."""
    _known(retriever, service, item_id)
    similar = await asyncio.to_thread(retriever.similar, item_id, limit)
    return SimilarItems(
        items=[
            SimilarItem(**ItemBody.of(match.item).model_dump(), similarity=min(max(match.score, -1.0), 1.0))
            for match in similar
            if match.item.item_id not in service.feedback.withdrawn
        ]
    )


@router.get("/{item_id:path}", responses=responses(404), dependencies=[needs(KeyScope.recommend)])
async def read_item(item_id: str, retriever: RetrieverDep, service: ServiceDep) -> ItemBody:
    """Read one item."""
    stored = service.feedback.item(item_id)
    if stored is not None and stored.title is not None and not stored.withdrawn:
        return ItemBody(item_id=stored.item_id, title=stored.title, attributes=dict(stored.attributes))
    return ItemBody.of(_known(retriever, service, item_id))


def _known(retriever: Retriever, service: ServiceDep, item_id: str) -> Item:
    if item_id in service.feedback.withdrawn:
        error = NotFoundError("the item was withdrawn", field="item_id", code="withdrawn_item")
        raise Refused(404, error)
    try:
        return retriever.item(item_id)
    except NotFoundError as error:
        raise Refused(404, error) from error
