"""Items in the store: put, withdraw and list them."""

import json
from collections.abc import Collection, Sequence

from sqlalchemy import delete, insert, select, update

from retrieval.store import tables
from retrieval.store.base import ITEM_REVISION, StorePart, canonical_json, chunks
from retrieval.store.records import StoredItem


class ItemsPart(StorePart):
    """Methods of the store about items."""

    def put_items(self, items: Sequence[StoredItem]) -> int:
        """Add or replace items; return how many changed. A withdrawn item that is put again is shown again.

        Raises:
            StoreError: If the database fails. No item is changed then.
        """
        wanted = {item.item_id: (item.title, canonical_json(item.attributes), item.withdrawn) for item in items}
        with self._database.writing() as connection:
            known = {
                row.item_id: (row.title, row.attributes, row.withdrawn)
                for some in chunks(list(wanted))
                for row in connection.execute(select(tables.items).where(tables.items.c.item_id.in_(some)))
            }
            changed = [item_id for item_id, value in wanted.items() if known.get(item_id) != value]
            now = int(self._clock())
            for some in chunks([item_id for item_id in changed if item_id in known]):
                connection.execute(delete(tables.items).where(tables.items.c.item_id.in_(some)))
            rows = [
                {"item_id": item_id, "changed": now}
                | dict(zip(("title", "attributes", "withdrawn"), wanted[item_id], strict=True))
                for item_id in changed
            ]
            if rows:
                connection.execute(insert(tables.items), rows)
                self._count_on(connection, ITEM_REVISION)
        return len(changed)

    def withdraw(self, item_id: str) -> None:
        """Mark an item as withdrawn, whether it was put into the store or fitted. Idempotent.

        Raises:
            StoreError: If the database fails.
        """
        items = tables.items.c
        with self._database.writing() as connection:
            found = connection.execute(select(items.withdrawn).where(items.item_id == item_id)).first()
            if found is not None and found.withdrawn:
                return
            values = {"withdrawn": True, "changed": int(self._clock())}
            if found is None:
                connection.execute(insert(tables.items).values(item_id=item_id, **values))
            else:
                connection.execute(update(tables.items).where(items.item_id == item_id).values(**values))
            self._count_on(connection, ITEM_REVISION)

    def items(self) -> tuple[int, list[StoredItem]]:
        """Return the revision of the items, and all items that were put or withdrawn, sorted by id.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.reading() as connection:
            revision = self._count(connection, ITEM_REVISION)
            rows = connection.execute(select(tables.items).order_by(tables.items.c.item_id)).all()
        return revision, [
            StoredItem(row.item_id, row.title, json.loads(row.attributes or "{}"), row.withdrawn) for row in rows
        ]

    def known_items(self, item_ids: Collection[str]) -> set[str]:
        """Return those of the ids under which an item was put into the store.

        Raises:
            StoreError: If the database fails.
        """
        items = tables.items.c
        with self._database.reading() as connection:
            return {
                item_id
                for some in chunks(list(item_ids))
                for item_id in connection.execute(
                    select(items.item_id).where(items.item_id.in_(some), items.title.is_not(None))
                ).scalars()
            }
