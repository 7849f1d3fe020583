"""What stands out in a history."""

import numpy as np
import pytest

from prompts import Sanitizer
from reranker import RecommendationRequest, Recommender
from reranker.reasons.taste import Tastes, taste_sentence
from retrieval import Interaction, Item


def items(*genres: str, **more: str) -> list[Item]:
    return [Item(str(number), f"Film {number}", {"genres": (genre,), **more}) for number, genre in enumerate(genres)]


CATALOG = items(*["Drama"] * 50, *["Comedy"] * 40, *["Western"] * 10)
TASTES = Tastes(CATALOG, np.ones(100))


def test_what_is_rare_here_stands_out_and_what_is_usual_does_not() -> None:
    standing = TASTES.of(items(*["Drama"] * 5, *["Western"] * 5))
    assert [one.value for one in standing] == ["Western"]
    assert standing[0].liked == 5
    assert standing[0].usual == pytest.approx(0.1)
    # log-odds (5 + 10 * .1) / (5 + 10 * .9) against .1 / .9, by the root of 1/6 + 1/14
    assert standing[0].z == pytest.approx((np.log(6 / 14) - np.log(1 / 9)) / np.sqrt(1 / 6 + 1 / 14))


@pytest.mark.parametrize("genres", [[], ["Western"], ["Western"] * 2, ["Drama", "Comedy"] * 10])
def test_few_or_usual_likings_say_nothing(genres: list[str]) -> None:
    assert TASTES.of(items(*genres)) == []


def test_what_is_popular_is_usual() -> None:
    likings = np.array([1.0] * 90 + [100.0] * 10)  # everybody likes westerns
    assert Tastes(CATALOG, likings).of(items(*["Western"] * 5, *["Drama"] * 2)) == []


def test_free_text_and_numbers_are_no_tastes() -> None:
    catalog = [Item(str(n), "A", {"plot": f"plot {n}", "year": 1990, "genres": ("Drama",)}) for n in range(2100)]
    assert Tastes(catalog, np.zeros(2100)).of(catalog[:5]) == []


def test_sentences() -> None:
    standing = TASTES.of(items(*["Western"] * 6, "Drama"))
    clean = Sanitizer()
    assert (
        taste_sentence(standing, 7, clean, "en", "films")
        == "Of the 7 films that you liked, 6 are Western, which is more than usual here."
    )
    assert (
        taste_sentence(standing, 7, clean, "zh", "films")
        == "在你喜欢的7项内容里，6项属于西部，比例高于这里的平均水平。"
    )
    assert taste_sentence([], 7, clean, "en", "films") is None
    shop = Tastes(items(*["A"] * 90, *["B"] * 10), np.ones(100)).of(items(*["B"] * 4))
    two = [*shop, *[type(shop[0])("brand", "Norr", 3, 0.1, 3.0)]]
    assert taste_sentence(two, 4, clean, "en", "products") == (
        "Of the 4 products that you liked, 4 are B (genres) and 3 Norr (brand), which is more than usual here."
    )


async def test_only_on_request_and_only_of_what_was_liked(recommender: Recommender) -> None:
    rare = Tastes(items(*["Drama"] * 10, *["Comedy"] * 90), np.ones(100))
    recommender.__dict__["_tastes"] = rare  # half of the checkerboard's films are dramas, which six are too few to beat
    history = [Interaction(f"i{number}", "rating", 5.0 if number % 2 == 0 else 1.0) for number in range(12)]
    asked = await recommender.recommend(RecommendationRequest(history=history, k=1, taste=True))
    assert asked.taste is not None
    assert asked.taste.text == "Of the 6 films that you liked, 6 are Drama, which is more than usual here."
    assert [(one.name, one.value, one.liked) for one in asked.taste.attributes] == [("genres", "Drama", 6)]
    assert (await recommender.recommend(RecommendationRequest(history=history, k=1))).taste is None
    stranger = await recommender.recommend(RecommendationRequest(user_id="nobody", k=1, taste=True))
    assert stranger.taste is None
