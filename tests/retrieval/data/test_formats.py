"""Tables of known content, written in every way that files come in, are read as what they hold."""

import bz2
import csv
import gzip
import io
import json
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval import DataError, DataSettings
from retrieval.data import readers

NOW = 1_800_000_000
ITEMS = [("1", "Red River"), ("2", "Blue Garden"), ("3", "Silent Tower")]

_TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
_NULL_WORDS = {"nan", "null", "none", "nil", "nat", "<na>", "#n/a", "n/a", "\\n", "-", "–", "—"}


def _is_plain(text: str) -> bool:
    """Whether text stands for itself: no word for nothing, and nothing invisible at its ends."""
    invisible = "\u200b\u200c\u200d\u2060\ufeff"
    return text.casefold() not in _NULL_WORDS and text.strip(invisible) == text and "&" not in text and "<" not in text


_ID = _TEXT.filter(_is_plain).map(lambda text: unicodedata.normalize("NFC", text))
_TIME = st.integers(1_000_000_000, 1_700_000_000)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[tuple[str, str, float, int]]]:
    """Items, and ratings of them."""
    ids = draw(st.lists(_ID, min_size=1, max_size=6, unique=True))
    items = [(one, f"Title {place}") for place, one in enumerate(ids)]
    ratings = st.tuples(_ID, st.sampled_from(ids), st.sampled_from([0.5, 1.0, 2.5, 4.0]), _TIME)
    rows = draw(st.lists(ratings, min_size=1, max_size=12))
    # The best rating of a scale occurs, so that there is no doubt about the scale.
    return items, [*rows, (rows[0][0], ids[0], 5.0, 1_600_000_000)]


def _csv(header: list[str], rows: Sequence[tuple[Any, ...]], delimiter: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def _json(header: list[str], rows: list[tuple[Any, ...]]) -> str:
    return "".join(json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


Writer = Callable[[list[str], list[tuple[Any, ...]]], str]
_DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}
_WRITERS: dict[str, Writer] = {
    **{name: partial(_csv, delimiter=mark) for name, mark in _DELIMITERS.items()},
    "json lines": _json,
    "json array": lambda header, rows: json.dumps([dict(zip(header, row, strict=True)) for row in rows]),
}
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030")
_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
}
_TIMES: dict[str, Callable[[int], str]] = {
    "seconds": str,
    "milliseconds": lambda at: str(at * 1000),
    "nanoseconds": lambda at: str(at * 1_000_000_000),
    "iso": lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    "zone": lambda at: str(datetime.fromtimestamp(at, UTC)),
    "zulu": lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y/%m/%d %H:%M:%SZ"),
    "packed": lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S"),
}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    table=tables(),
    form=st.sampled_from(sorted(_WRITERS)),
    encoding=st.sampled_from(_ENCODINGS),
    packer=st.sampled_from(sorted(_PACKERS)),
    time=st.sampled_from(sorted(_TIMES)),
)
def test_what_is_read_is_what_was_written(
    table: tuple[list[tuple[str, str]], list[tuple[str, str, float, int]]],
    form: str,
    encoding: str,
    packer: str,
    time: str,
) -> None:
    items, ratings = table
    written = [(user, item, rating, _TIMES[time](at)) for user, item, rating, at in ratings]
    with TemporaryDirectory() as folder:
        for name, header, rows in (
            ("did", ["user_id", "item_id", "rating", "timestamp"], written),
            ("items", ["item_id", "title"], items),
        ):
            text = _WRITERS[form](header, rows)
            Path(folder, name).write_bytes(_PACKERS[packer](text.encode(encoding)))
        given_encoding = encoding if encoding == "gb18030" else None
        dataset, findings = readers.read(
            DataSettings(
                interactions=Path(folder, "did"), items=Path(folder, "items"), encoding=given_encoding, name="d"
            ),
            now=NOW,
        )
    assert [one for one in findings if one.is_fault] == []
    assert dataset.items.rows() == items
    columns = ["user_id", "item_id", "weight", "timestamp"]
    assert sorted(dataset.interactions.select(columns).rows()) == sorted(ratings)
    assert dataset.interactions["event"].unique().to_list() == ["rating"]


_BLANK = st.text(" \t\u00a0\u200b\ufeff\u3000", max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_ID, _BLANK, _BLANK, st.booleans()), min_size=1, max_size=8))
def test_ids_are_read_without_what_nobody_sees(ids: list[tuple[str, str, str, bool]]) -> None:
    def shape(one: tuple[str, str, str, bool]) -> str:
        return one[1] + (unicodedata.normalize("NFD", one[0]) if one[3] else one[0]) + one[2]

    with TemporaryDirectory() as folder:
        did, items = Path(folder, "did.csv"), Path(folder, "items.csv")
        did.write_text(_csv(["user_id", "item_id"], [(shape(one), "1") for one in ids], ","), encoding="utf-8")
        items.write_text(_csv(["item_id", "title"], ITEMS, ","), encoding="utf-8")
        dataset, _ = readers.read(DataSettings(interactions=did, items=items), now=NOW)
    plain = [one[0] for one in ids if _is_plain(unicodedata.normalize("NFC", one[0]))]
    assert sorted(dataset.interactions["user_id"].to_list()) == sorted(plain)


def read(folder: Path, did: str | bytes, items: str | bytes | None = None, **more: Any) -> tuple[Any, list[Any]]:
    for name, content in (("did.csv", did), ("items.csv", items or _csv(["item_id", "title"], ITEMS, ","))):
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    files = {"interactions": folder / "did.csv", "items": folder / "items.csv"}
    return readers.read(DataSettings(**{**files, **more}), now=NOW)


def attribute(folder: Path, values: list[str]) -> tuple[pl.Series, list[str]]:
    rows = [(str(place), f"Title {place}", value) for place, value in enumerate(values, start=1)]
    dataset, findings = read(folder, "user_id,item_id\nu,1\n", _csv(["item_id", "title", "value"], rows, ","))
    return dataset.items["value"], [one.code for one in findings]


@pytest.mark.parametrize(
    ("ratings", "stars", "codes"),
    [
        (["1", "3", "5"], [1, 3, 5], []),
        (["1", "7", "10"], [0.5, 3.5, 5], ["rating_scale"]),
        (["0", "60", "100"], [0, 3, 5], ["rating_scale"]),
        (["0.2", "0.6", "1.0"], [1, 3, 5], ["rating_scale"]),
        (["-1", "0", "1"], [1, 3, 5], ["rating_scale"]),
        (["0", "1", "1"], [0, 5, 5], ["rating_scale"]),
        (["like", "dislike", "like"], [5, 1, 5], ["thumbs", "rating_scale"]),
        (["4,5", "5", "3"], [4.5, 5, 3], ["decimal_comma"]),
    ],
)
def test_scales_of_ratings(tmp_path: Path, ratings: list[str], stars: list[float], codes: list[str]) -> None:
    rows: list[tuple[Any, ...]] = [("u", item, rating) for (item, _), rating in zip(ITEMS, ratings, strict=True)]
    dataset, findings = read(tmp_path, _csv(["user_id", "item_id", "stars"], rows, ";"))
    found = dataset.interactions.sort("item_id")
    assert found["weight"].to_list() == pytest.approx(stars)
    assert found["event"].to_list() == ["rating"] * 3
    assert sorted(one.code for one in findings) == sorted([*codes, "ratings"])


@pytest.mark.parametrize("ratings", [["1", "5", "1500"], ["-1", "8", "10"]])
def test_a_scale_that_nobody_knows_is_refused(tmp_path: Path, ratings: list[str]) -> None:
    did = _csv(["user_id", "item_id", "rating"], [("u", "1", rating) for rating in ratings], ",")
    with pytest.raises(DataError, match=r"data\.rating_scale"):
        read(tmp_path, did)
    dataset, _ = read(tmp_path, did, rating_scale=(-1, 1500))
    assert dataset.interactions.height == 3


@pytest.mark.parametrize(
    ("times", "first"),
    [
        (["20231101", "20231102"], datetime(2023, 11, 1)),
        (["31/12/2023", "01/02/2023"], datetime(2023, 12, 31)),
        (["12/31/2023 23:00", "1/2/2023 01:00"], datetime(2023, 12, 31, 23)),
        (["1.2.2023", "31.12.2023"], datetime(2023, 2, 1)),
        (["2023-11-01 18:00:00+02", "2023-11-01 18:00:00.5+00"], datetime(2023, 11, 1, 16)),
        (["2023-11-01 18:00", "NULL"], datetime(2023, 11, 1, 18)),
        (["Nov 1, 2023", "2 Nov 2023"], datetime(2023, 11, 1)),
        (["2023", "1999"], datetime(2023, 1, 1)),
    ],
)
def test_dates_that_can_mean_one_thing_only(tmp_path: Path, times: list[str], first: datetime) -> None:
    did = _csv(["user_id", "item_id", "timestamp"], [("a", "1", times[0]), ("b", "1", times[1])], ",")
    dataset, findings = read(tmp_path, did)
    assert dataset.interactions["timestamp"][0] == int(first.replace(tzinfo=UTC).timestamp())
    assert not [one for one in findings if one.is_fault]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (["01/02/2023", "03/04/2023"], "do not distinguish day and month"),
        (["31/12/2023", "12/31/2023"], "mix both orders"),
        (["45231", "45232.5"], "day numbers of a spreadsheet"),
    ],
)
def test_times_that_could_mean_several_things_are_refused(tmp_path: Path, times: list[str], says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path, _csv(["user_id", "item_id", "timestamp"], [("a", "1", one) for one in times], ","))
    assert (caught.value.field, "did.csv" in str(caught.value)) == ("timestamp", True)


@pytest.mark.parametrize(
    ("values", "read_as", "codes"),
    [
        (["$1,299.00", "$5.00", "$12.50"], [1299.0, 5.0, 12.5], ["price"]),
        (["12,50 €", "1.299,00 €", "3,00 €"], [12.5, 1299.0, 3.0], ["price"]),
        (["11", "12", "—", "13", "x"], [11, 12, None, 13, None], ["null_word", "bad_number"]),
        (["$5", "5 €", "£3"], ["$5", "5 €", "£3"], ["price"]),
        (["yes", "no", "Yes"], [True, False, True], []),
        (["true", "1", "no"], [True, True, False], []),
        (["1", "0", "1"], [1, 0, 1], []),
        (["F", "F", "F"], ["F", "F", "F"], []),
        (["00501", "10001", "20002"], ["00501", "10001", "20002"], []),
        (["A1", "12", "B7"], ["A1", "12", "B7"], []),
        (['["a", "b"]', '["c"]', "[]"], [["a", "b"], ["c"], []], ["list"]),
        (["['a', 'b']", "['c']", "[]"], [["a", "b"], ["c"], []], ["list"]),
        (["[{'id': 1, 'name': 'War'}]", "[]", "[]"], [["War"], [], []], ["list"]),
        (["a|b", "a", "b|c"], [["a", "b"], ["a"], ["b", "c"]], []),
        (["Tom | Jerry", "Alone", "Other"], ["Tom | Jerry", "Alone", "Other"], ["bar"]),
        (["R&amp;D", "a  b", "<b>x</b>"], ["R&D", "a b", "x"], []),
        (["nan", "NULL", "x"], [None, None, "x"], ["null_word"]),
        (["[Remastered] A", "b", "c"], ["[Remastered] A", "b", "c"], []),
    ],
)
def test_attributes_of_text_files(tmp_path: Path, values: list[str], read_as: list[Any], codes: list[str]) -> None:
    column, found = attribute(tmp_path, values)
    assert column.to_list() == read_as
    assert found == codes


def test_titles_are_plain_text_and_never_missing(tmp_path: Path) -> None:
    items = "item_id,title\n1,Tom &amp;amp; <b>Jerry</b>  &#39;x&#39;\n2,nan\n3,I <3 you\n4,\n"
    dataset, findings = read(tmp_path, "user_id,item_id\nu,1\n", items)
    titles = ["Tom & Jerry 'x'", "Untitled item 3", "I <3 you", "Untitled item 5"]
    assert dataset.items["title"].to_list() == titles
    assert [(one.code, one.row) for one in findings] == [("html", 2), ("null_word", 3), ("empty_title", 5)]


@pytest.mark.parametrize(
    ("ids", "items", "says"),
    [
        (["1.0", "2.0"], "1,A\n2,B\n", "'1.0'; the catalog has '1': they end with '.0', otherwise all of them match"),
        (["001", "002"], "1,A\n2,B\n", "leading zeros"),
        (["B1X", "B2X"], "b1x,A\nb2x,B\n", "upper and lower case"),
        (["B 1", "B 2"], "B-1,A\nB-2,B\n", "blanks or marks"),
    ],
)
def test_ids_that_match_nothing_are_shown_with_the_cause(tmp_path: Path, ids: list[str], items: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, _csv(["user_id", "item_id"], [("u", one) for one in ids], ","), "item_id,title\n" + items)
    assert says in str(caught.value)


def test_columns_are_used_or_named(tmp_path: Path) -> None:
    did = "userId,movieId,weight,stars,session\nu,1,2,5,x\n"
    dataset, findings = read(tmp_path, did)
    unused = next(str(one) for one in findings if one.code == "unused_column")
    assert "'stars', 'session' are not used" in unused
    assert 'data.columns.weight = "stars"' in unused
    assert dataset.interactions.row(0)[2:4] == ("view", 2.0)
    dataset, _ = read(tmp_path, did.replace("weight", "w"))
    assert dataset.interactions.row(0)[2:4] == ("rating", 5.0)


def test_columns_can_be_mapped_for_one_file(tmp_path: Path) -> None:
    did, items = "id,user_id,item_id\n9,u,1\n", "id,name\n1,A\n"
    with pytest.raises(DataError, match=r"\[data.columns.items\]"):
        read(tmp_path, did, items, columns={"item_id": "id"})
    dataset, _ = read(tmp_path, did, items, columns={"items": {"item_id": "id"}})
    assert dataset.interactions["item_id"].to_list() == ["1"]


def test_a_mapping_to_no_column_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"there is no column 'ordred_at': did\.csv has 'user_id', 'item_id', 'ordered_at'"
    ):
        read(tmp_path, "user_id,item_id,ordered_at\nu,1,9\n", columns={"timestamp": "ordred_at"})


def test_kinds_of_events_are_told_and_can_be_named(tmp_path: Path) -> None:
    did = "user_id,item_id,event\na,1,Purchase\nb,2,add_to_cart\nc,3,teleport\n"
    _, findings = read(tmp_path, did)
    assert "'add_to_cart' counts as cart, 'teleport' counts as view" in str(findings[0])
    dataset, findings = read(tmp_path, did, events={"teleport": "hide"})
    assert "hide" in dataset.interactions["event"].to_list()


def test_a_review_keeps_its_text_beside_the_item(tmp_path: Path) -> None:
    dataset, findings = read(tmp_path, "user_id,item_id,rating,title,text\nu,1,5,Great!,works fine\n")
    assert dataset.interactions.row(0) == ("u", "1", "rating", 5.0, None, "works fine")
    assert dataset.items["title"][0] == "Red River"
    assert "column 'title' is not used" in str(findings[0])


@pytest.mark.parametrize(
    ("did", "kept", "row"),
    [
        ("user_id,item_id\na,1\nb,2,x\nc,3\n", 2, 3),
        ('user_id,item_id\na,1\nb,"2"x\n"c",3\nd\n', 2, 5),
        ('{"user_id": "a", "item_id": "1"}\n{"user_id": "b", \n{"user_id": "c", "item_id": "3"}\n', 2, 2),
    ],
)
def test_broken_rows_are_dropped_and_named(tmp_path: Path, did: str, kept: int, row: int) -> None:
    dataset, findings = read(tmp_path, did)
    faults = [one for one in findings if one.is_fault]
    assert (dataset.interactions.height, faults[0].row) == (kept, row)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04 ", "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "web page"),
        (b"PAR1 and no more", "starts like Parquet"),
        (gzip.compress(b"user_id,item_id\n" * 99)[:40], "cannot be decompressed"),
        (zstandard.compress(bytes(range(256)) * 99)[:40], "cannot be decompressed"),
        ("user_id,item_id\nRéné,1\n".encode("latin-1"), "windows-1252"),
        ("user_id,item_id\n红楼梦,1\n".encode("gbk"), "gb18030"),
        (b"1,2,3\n4,5,6\n", "first line seems to be data"),
        (b'{"rows": [1,\n2]}', "none of its lines is an object"),
        (b'[{"user_id": "a"}, 3]', "entry 2 is not an object"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert says in str(caught.value)
    assert "did.csv" in str(caught.value)


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    parts = tmp_path / "did"
    for name, content in {
        "event=view/part-0.csv": "user_id,item_id\na,1\n",
        "event=purchase/part-0.csv": "user_id,item_id\nb,2\nb,99\n",
        "_SUCCESS": "done",
    }.items():
        (parts / name).parent.mkdir(parents=True, exist_ok=True)
        (parts / name).write_text(content)
    dataset, findings = read(tmp_path, b"-", interactions=parts)
    assert dataset.interactions.select("user_id", "event").rows() == [("a", "view"), ("b", "purchase")]
    assert (findings[0].file, findings[0].row) == ("did/event=purchase/part-0.csv", 3)
    (parts / "other.jsonl").write_text('{"user_id": "c", "item_id": "3"}\n')
    with pytest.raises(DataError, match="in one format"):
        read(tmp_path, b"-", interactions=parts)


def test_parquet_by_any_name_and_types_that_are_no_attributes(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [1], "item_id": [1.0], "rating": [5]}).write_parquet(tmp_path / "did.data")
    pl.DataFrame(
        {
            "item_id": [1],
            "title": ["A"],
            "runtime": [timedelta(hours=1)],
            "image": [b"x"],
            "people": [[{"name": "X", "age": 3}]],
            "zip": ["00501"],
        }
    ).write_parquet(tmp_path / "items.data")
    files = DataSettings(interactions=tmp_path / "did.data", items=tmp_path / "items.data")
    dataset, findings = readers.read(files, now=NOW)
    assert dataset.items.row(0) == ("1", "A", 3600.0, ["X"], "00501")
    assert any("column 'image': left out" in str(one) for one in findings)


def test_amazon_reviews(tmp_path: Path) -> None:
    review = {"rating": 5.0, "title": "Nice", "text": "I love it", "asin": "B1", "parent_asin": "P1", "user_id": "U"}
    meta = {
        "title": "A &amp; B",
        "price": "None",
        "categories": ["Toys"],
        "images": [{"thumb": "u"}],
        "parent_asin": "P1",
    }
    (tmp_path / "r.jsonl").write_text(json.dumps({**review, "timestamp": 1588687728923}) + "\n")
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(json.dumps(meta).encode()))
    files = (tmp_path / "r.jsonl", tmp_path / "m.jsonl.gz")
    dataset, findings = readers.read(DataSettings(amazon=files), now=NOW)
    assert dataset.interactions.row(0) == ("U", "P1", "rating", 5.0, 1588687728, "I love it")
    assert dataset.items.row(0, named=True) == {
        "item_id": "P1",
        "title": "A & B",
        "price": None,
        "categories": ["Toys"],
    }
    assert dataset.noun == "products"
    assert not [one for one in findings if one.is_fault]
    with pytest.raises(DataError, match="Give the reviews first"):
        readers.read(DataSettings(amazon=files[::-1]), now=NOW)


def test_grouplens_100k_and_10m(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n186\t242\t5\t891717742\n")
    flags = "|".join("1" if place in (5, 8) else "0" for place in range(19))
    (tmp_path / "u.item").write_bytes(f"242|Kolyá, The (1996)|24-Jan-1997||http://x|{flags}\n".encode("latin-1"))
    dataset, findings = readers.read(DataSettings(grouplens=tmp_path), now=NOW)
    assert findings == []
    assert dataset.items.row(0) == ("242", "The Kolyá", None, 1996, ["Comedy", "Drama"])
    assert dataset.interactions.height == 2
    (tmp_path / "u.data").unlink()
    (tmp_path / "ratings.dat").write_text("1::122::4.5::838985046\n1::122::5::9::9\n2::122::0.5::838985046\n")
    (tmp_path / "movies.dat").write_text('122::"Great" Amélie (2001)::Comedy\n', encoding="utf-8")
    dataset, findings = readers.read(DataSettings(grouplens=tmp_path), now=NOW)
    assert [(one.code, one.row) for one in findings] == [("bad_row", 2)]
    assert dataset.items["title"].to_list() == ['"Great" Amélie']
    assert dataset.interactions["weight"].to_list() == [4.5, 0.5]
