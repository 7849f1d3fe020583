from pathlib import Path

import polars as pl
import pytest

from retrieval import DataError, sources


def test_movielens_is_the_data_set_that_the_literature_describes() -> None:
    dataset = sources.movielens()
    assert dataset.interactions.height == 100_004
    assert dataset.interactions["user_id"].n_unique() == 671
    assert dataset.items.height == 9_066
    assert dataset.hash == sources.MOVIELENS_HASH
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
    assert sources.split_title(title) == expected


def test_own_csv_files_keep_ids_as_text_and_split_lists(tmp_path: Path) -> None:
    (tmp_path / "did.csv").write_text("user_id,item_id,event\n007,0001,click\n7,0001,view\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text("item_id,title,tags,price\n0001,红楼梦,a|b,3.5\n", encoding="utf-8")
    dataset = sources.files(tmp_path / "did.csv", tmp_path / "items.csv", noun="books")
    assert dataset.interactions["user_id"].to_list() == ["007", "7"]
    assert dataset.items.row(0) == ("0001", "红楼梦", ["a", "b"], 3.5)
    assert (dataset.name, dataset.noun) == ("did", "books")


def test_own_parquet_files(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [1], "item_id": [2]}).write_parquet(tmp_path / "did.parquet")
    pl.DataFrame({"item_id": [2], "title": ["Two"]}).write_parquet(tmp_path / "items.parquet")
    assert sources.files(tmp_path / "did.parquet", tmp_path / "items.parquet").items["item_id"].to_list() == ["2"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00broken", b'user_id,item_id\n"unclosed'])
def test_unreadable_files_are_data_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "did.csv").write_bytes(content)
    (tmp_path / "items.csv").write_text("item_id,title\n1,One\n")
    with pytest.raises(DataError):
        sources.files(tmp_path / "did.csv", tmp_path / "items.csv")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        sources.files(tmp_path / "nowhere.csv", tmp_path / "nowhere.csv")
