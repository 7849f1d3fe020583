from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from retrieval import DataError, DataSettings, InputError
from retrieval.data import checks, readers


def test_movielens_is_the_data_set_that_the_literature_describes() -> None:
    dataset = readers.movielens()
    assert dataset.interactions.height == 100_004
    assert dataset.interactions["user_id"].n_unique() == 671
    assert dataset.items.height == 9_066
    assert dataset.hash == readers.MOVIELENS_HASH
    assert dataset.items["title"].null_count() == 0
    toy_story = dataset.items.filter(pl.col("item_id") == "1").row(0, named=True)
    assert (toy_story["title"], toy_story["year"]) == ("Toy Story", 1995)
    assert "Animation" in toy_story["genres"]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Toy Story", ("Toy Story", None)),
        ("Deer Hunter, The", ("The Deer Hunter", None)),
        (
            "City of Lost Children, The (Cité des enfants perdus, La)",
            ("The City of Lost Children", "La Cité des enfants perdus"),
        ),
        ("Independence Day (a.k.a. ID4)", ("Independence Day", "ID4")),
        ("(500) Days of Summer", ("(500) Days of Summer", None)),
        (
            "Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il)",
            ("The Good, the Bad and the Ugly", "Il Buono, il brutto, il cattivo"),
        ),
        ("9", ("9", None)),
    ],
)
def test_titles_as_people_write_them(title: str, expected: tuple[str, str | None]) -> None:
    assert readers.split_title(title) == expected


def faults(findings: list[checks.Finding]) -> list[checks.Finding]:
    return [one for one in findings if one.is_fault]


def write(folder: Path, interactions: str, items: str = "item_id,title\n1,One\n2,Two\n") -> DataSettings:
    (folder / "did.csv").write_text(interactions, encoding="utf-8")
    (folder / "items.csv").write_text(items, encoding="utf-8")
    return DataSettings(interactions=folder / "did.csv", items=folder / "items.csv")


def test_own_csv_files_keep_ids_as_text_and_split_lists(tmp_path: Path) -> None:
    settings = write(
        tmp_path,
        "user_id,item_id,event\n007,0001,click\n7,0001,\n",
        "item_id,title,tags,price\n0001,红楼梦,a|b,3.5\n",
    ).model_copy(update={"noun": "books"})
    dataset, findings = readers.read(settings)
    assert faults(findings) == []
    assert dataset.interactions["user_id"].to_list() == ["007", "7"]
    assert dataset.interactions["event"].to_list() == ["click", "view"]
    assert dataset.items.row(0) == ("0001", "红楼梦", ["a", "b"], 3.5)
    assert (dataset.name, dataset.noun) == ("did", "books")


def test_own_parquet_files_and_columns_of_other_names(tmp_path: Path) -> None:
    when = datetime(2024, 5, 31, 18, tzinfo=UTC)
    pl.DataFrame({"customer": [1], "sku": [2], "at": [when]}).write_parquet(tmp_path / "did.parquet")
    pl.DataFrame({"sku": [2], "name": ["Two"]}).write_parquet(tmp_path / "items.parquet")
    dataset, findings = readers.read(
        DataSettings(
            interactions=tmp_path / "did.parquet",
            items=tmp_path / "items.parquet",
            columns={"user_id": "customer", "item_id": "sku", "title": "name", "timestamp": "at"},
        )
    )
    assert faults(findings) == []
    assert dataset.items["item_id"].to_list() == ["2"]
    assert dataset.interactions.row(0) == ("1", "2", "view", 1.0, int(when.timestamp()), None)


def test_searches_stand_beside_items(tmp_path: Path) -> None:
    settings = write(tmp_path, "user_id,item_id,event,text\nu,1,view,\nu,,search,a wish\n")
    dataset, findings = readers.read(settings)
    assert faults(findings) == []
    assert sorted(dataset.interactions["text"].to_list(), key=str) == [None, "a wish"]


@pytest.mark.parametrize(
    "written",
    [
        *(
            "1717178400",
            "1717178400.0",
            "1717178400000",
            "1717178400000000",
            "2024-05-31T18:00:00",
            "2024-05-31 18:00:00",
        ),
        *("2024-05-31T18:00:00Z", "2024-05-31T20:00:00+02:00", "2024-05-31T18:00:00.25"),
    ],
)
def test_times_in_every_usual_form(tmp_path: Path, written: str) -> None:
    dataset, findings = readers.read(write(tmp_path, f"user_id,item_id,timestamp\nu,1,{written}\n"))
    assert faults(findings) == []
    assert dataset.interactions["timestamp"].to_list() == [1717178400]


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        (",1,1,1", "empty_id", "user_id"),
        ("u,,1,1", "empty_id", "item_id"),
        ("u,99,1,1", "unknown_item", "item_id"),
        ("u\x07,1,1,1", "control_characters", "user_id"),
        ("u,1,yesterday,1", "bad_timestamp", "timestamp"),
        ("u,1,2031-01-01,1", "future_timestamp", "timestamp"),
        ("u,1,1,NaN", "bad_weight", "weight"),
        ("u,1,1,inf", "bad_weight", "weight"),
        ("u,1,1,-1", "bad_weight", "weight"),
        ("u,1,1,many", "bad_weight", "weight"),
    ],
)
def test_a_faulty_row_is_dropped_counted_and_told(tmp_path: Path, line: str, code: str, column: str) -> None:
    settings = write(tmp_path, f"user_id,item_id,timestamp,weight\nu,1,1,1\n{line}\nv,2,1,1\n{line}\n")
    dataset, findings = readers.read(settings, now=1_800_000_000)
    assert dataset.interactions.height == 2
    assert [(one.code, one.column, one.row, one.count, one.file) for one in faults(findings)] == [
        (code, column, 3, 2, "did.csv")
    ]
    assert faults(findings)[0].remedy in str(faults(findings)[0])
    with pytest.raises(DataError, match=r"did\.csv"):
        checks.raise_on_faults(findings)


@pytest.mark.parametrize(
    ("items", "code", "kept"),
    [
        ("item_id,title\n1,One\n,Two\n", "empty_id", ["One"]),
        ("item_id,title\n1,One\n2, \n", "empty_title", ["One", "Untitled item 3"]),
        ("item_id,title\n1,One\n1,Uno\n", "duplicate_id", ["One"]),
        ("item_id,title\n1,One\n2\x07,Two\n", "control_characters", ["One"]),
        ("item_id,title\n1,O\x07ne\n", "control_characters", ["O ne"]),
    ],
)
def test_a_faulty_item_is_told(tmp_path: Path, items: str, code: str, kept: list[str]) -> None:
    dataset, findings = readers.read(write(tmp_path, "user_id,item_id\nu,1\n", items))
    assert dataset.items["title"].to_list() == kept
    assert [one.code for one in faults(findings)] == [code]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"user_id,item_id\n", "no usable row"),
        (b"user_id,item_id\nu,1\nu,\xff\xfe\n", "not UTF-8 in row 3"),
        (b"who,item_id\nu,1\n", "has no column 'user_id', only 'who', 'item_id'"),
        (b"user_id,event\nu,view\n", "has no column 'item_id'"),
        (b"user_id,item_id\nu,99\n", "the catalog lacks the item"),
    ],
)
def test_unusable_files_say_why(tmp_path: Path, content: bytes, says: str) -> None:
    settings = write(tmp_path, "")
    (tmp_path / "did.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        readers.read(settings)
    assert says in str(caught.value)
    assert "did.csv" in str(caught.value)


def test_missing_files_and_contradictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        readers.read(DataSettings(interactions=tmp_path / "nowhere.csv", items=tmp_path / "nowhere.csv"))
    with pytest.raises(InputError, match="items: is missing"):
        readers.read(DataSettings(interactions=tmp_path / "did.csv"))
    with pytest.raises(InputError, match="not a known column"):
        readers.read(DataSettings(columns={"itemid": "sku"}))
    with pytest.raises(DataError, match="has none of ratings"):
        readers.read(DataSettings(grouplens=tmp_path))


def test_grouplens_csv_folder(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,6,4.0,980730861\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n6,"Deer Hunter, The (1978)",Drama|War\n7,Odd,(no genres listed)\n'
    )
    dataset, findings = readers.read(DataSettings(grouplens=tmp_path))
    assert faults(findings) == []
    assert dataset.items.row(0) == ("6", "The Deer Hunter", None, 1978, ["Drama", "War"])
    assert dataset.items.row(1) == ("7", "Odd", None, None, [])
    assert dataset.interactions.row(0) == ("1", "6", "rating", 4.0, 980730861, None)


def test_grouplens_1m_folder(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n2::3::4::978300761\n")
    (tmp_path / "movies.dat").write_bytes(
        "1193::Amélie: The Film (2001)::Comedy|Romance\n3::B (1990)::War\n".encode("latin-1")
    )
    dataset, findings = readers.read(DataSettings(grouplens=tmp_path))
    assert faults(findings) == []
    assert dataset.items.row(0) == ("1193", "Amélie: The Film", None, 2001, ["Comedy", "Romance"])
    assert dataset.interactions.row(0) == ("1", "1193", "rating", 5.0, 978300760, None)


def test_attributes_of_a_csv_keep_their_zeros_and_late_exceptions(tmp_path: Path) -> None:
    rows = "".join(f"i{number},t{number},{number:05},{number},{number}.5,true\n" for number in range(50))
    settings = write(
        tmp_path, "user_id,item_id\nu,i1\n", f"item_id,title,zip,year,price,ok\n{rows}i99,t,1,abc,1e2,FALSE\n"
    )
    dataset, findings = readers.read(settings)
    assert [(one.code, one.column, one.row, one.count) for one in faults(findings)] == [("bad_number", "year", 52, 1)]
    expected = {"zip": pl.String(), "year": pl.Int64(), "price": pl.Float64(), "ok": pl.Boolean()}
    assert {name: dataset.items.schema[name] for name in expected} == expected
    assert dataset.items["zip"][1] == "00001"


def test_two_columns_of_one_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two columns 'item_id'"):
        readers.read(write(tmp_path, "user_id,item_id,item_id\nu,1,2\n"))


def test_contradicting_column_maps_are_told(tmp_path: Path) -> None:
    settings = write(tmp_path, "user_id,item_id,sku\nu,1,2\n")
    with pytest.raises(InputError, match="maps two of our columns to 'sku'"):
        readers.read(settings.model_copy(update={"columns": {"item_id": "sku", "title": "sku"}}))
    with pytest.raises(DataError, match="a column 'item_id' besides 'sku'"):
        readers.read(settings.model_copy(update={"columns": {"item_id": "sku"}}))


def test_ids_that_were_stored_as_floats(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [1.0], "item_id": [2]}).write_parquet(tmp_path / "did.parquet")
    pl.DataFrame({"item_id": [2.0], "title": ["Two"]}).write_parquet(tmp_path / "items.parquet")
    dataset, _ = readers.read(DataSettings(interactions=tmp_path / "did.parquet", items=tmp_path / "items.parquet"))
    assert dataset.interactions.row(0)[:2] == ("1", "2")


@pytest.mark.parametrize(
    "files",
    [
        {"ratings.csv": "userId,movieId,rating,timestamp\n1,6,4.0,9\n", "movies.csv": "a,b\n1,2\n"},
        {"ratings.dat": "1::1::5::9\n"},
        {"ratings.dat": "1,1,5,100\n", "movies.dat": "1::A (1990)::War\n"},
        {"ratings.dat": "1::1::5::9\n", "movies.dat": ""},
    ],
)
def test_partial_grouplens_folders_are_told(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError):
        readers.read(DataSettings(grouplens=tmp_path))


def test_a_stray_rating_above_the_scale_is_dropped_and_told(tmp_path: Path) -> None:
    rows = "u,1,rating,5\n" * 99
    _, findings = readers.read(write(tmp_path, f"user_id,item_id,event,weight\n{rows}u,2,rating,50\n"))
    assert [(one.code, one.row) for one in faults(findings)] == [("bad_rating", 101)]
