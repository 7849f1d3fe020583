"""A batch in a database: all of it or what was there before, on SQLite and on a real PostgreSQL."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import ColumnClause, column, create_engine, make_url, select, table

from reranker import BATCH_TABLE, ROW_SCHEMA, BatchError, BatchFolder, BatchManifest, check_target, load_batch
from reranker.batch.rows import RowCounts
from retrieval import InputError

ODD = 'a "quoted"\ttitle,\nof two lines \\N; 中文'


def item(rank: int, reason: str | None) -> dict[str, Any]:
    return {
        **{"item_id": f"i{rank}", "rank": rank, "score": 1.0 / rank, "source": "als", "retrieval_rank": rank},
        **{"llm_score": None, "reason": reason, "reason_source": "evidence", "evidence": ["a", "b\t"]},
    }


def publish(path: Path, run: str, users: int, reason: str | None = ODD) -> BatchFolder:
    folder = BatchFolder(path)
    rows = [
        dict.fromkeys(ROW_SCHEMA) | {"row": row, "user_id": f"u{row}", "items": [item(1, reason), item(2, None)]}
        for row in range(users)
    ]
    rows.append(dict.fromkeys(ROW_SCHEMA) | {"row": users, "user_id": "bad", "error_code": "unknown_item"})
    frame = pl.DataFrame(rows, schema=ROW_SCHEMA)
    with folder.locked():
        shards = [folder.write_shard(run, number, part) for number, part in enumerate(frame.iter_slices(3))]
        folder.publish(
            BatchManifest(
                whyrank="0",
                run=run,
                created=datetime.now(UTC),
                scope="all",
                changed_since=None,
                artifact="build",
                data="test",
                data_hash="0",
                rows=frame.height,
                carried=0,
                counts=RowCounts.of(frame),
                shards=tuple(shards),
            )
        )
    return folder


def stored(url: str) -> list[tuple[Any, ...]]:
    parsed = make_url(url)
    driver = "postgresql+psycopg" if parsed.get_backend_name().startswith("postgres") else "sqlite"
    engine = create_engine(parsed.set(drivername=driver))
    with engine.connect() as connection:
        columns: list[ColumnClause[Any]] = [
            column(name) for name in ("user_id", "rank", "item_id", "reason", "evidence", "run")
        ]
        wanted = select(*columns).select_from(table(BATCH_TABLE)).order_by(*columns[:2])
        rows = [tuple(row) for row in connection.execute(wanted)]
    engine.dispose()
    return rows


def test_a_batch_replaces_the_one_before(url: str, tmp_path: Path) -> None:
    told: list[int] = []
    folder = publish(tmp_path / "out", "run-aaaaaaaaaaaaaaaa", 5)
    assert load_batch(folder, url, progress=told.append) == 10
    assert told[-1] == 6
    rows = stored(url)
    assert len(rows) == 10
    assert rows[0] == ("u0", 1, "i1", ODD, json.dumps(["a", "b\t"]), "run-aaaaaaaaaaaaaaaa")
    assert load_batch(folder, url) == 10, "the same one again"
    assert load_batch(publish(tmp_path / "out", "run-bbbbbbbbbbbbbbbb", 2, None), url) == 4
    assert {row[-1] for row in stored(url)} == {"run-bbbbbbbbbbbbbbbb"}


def test_a_batch_that_cannot_be_read_leaves_the_table(url: str, tmp_path: Path) -> None:
    load_batch(publish(tmp_path / "out", "run-aaaaaaaaaaaaaaaa", 5), url)
    before = stored(url)
    folder = publish(tmp_path / "out", "run-bbbbbbbbbbbbbbbb", 9)
    (tmp_path / "out" / "run-bbbbbbbbbbbbbbbb" / "shard-00002.parquet").unlink()
    with pytest.raises(BatchError, match="table is as it was"):
        load_batch(folder, url)
    assert stored(url) == before


def test_bad_targets_say_so(tmp_path: Path) -> None:
    for url in ("mysql://me@host/db", "nonsense", "sqlite://"):
        with pytest.raises(InputError, match="--to"):
            check_target(url)
    with pytest.raises(BatchError, match="no finished batch"):
        load_batch(BatchFolder(tmp_path / "none"), "sqlite:///" + str(tmp_path / "a.sqlite"))
    folder = publish(tmp_path / "out", "run-aaaaaaaaaaaaaaaa", 2)
    with pytest.raises(BatchError, match="table is as it was") as failed:
        load_batch(folder, "postgresql://me:secret@127.0.0.1:9/none")
    assert "secret" not in str(failed.value)
