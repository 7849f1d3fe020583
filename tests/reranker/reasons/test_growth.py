"""Processing time is linear in the length of titles, attribute values and generated text."""

import time
from collections.abc import Callable

import pytest

from prompts import EvidenceInput, ItemInput, Sanitizer, item_input
from reranker.reasons.catalog_words import Vocabulary, words_of
from reranker.reasons.check import check, first_sentence
from reranker.reasons.fallback import evidence_sentence
from reranker.reasons.writer import _joined, _pattern
from reranker.scoring.permutation import repaired, written_labels
from retrieval import Item

SHAPES: dict[str, Callable[[int], str]] = {
    "one letter": lambda size: "a" * size,
    "capitals": lambda size: "A " * (size // 2),
    "words": lambda size: " ".join(f"Word{number}" for number in range(size // 7)),
    "spaces": lambda size: "x" + " " * size + "y",
    "quotes": lambda size: "liked \ue001" + "\"' " * (size // 3) + "x",
    "liked": lambda size: "liked " * (size // 6),
    "apostrophes": lambda size: "a'" * (size // 2),
    "stops": lambda size: "a." * (size // 2),
    "sentences": lambda size: "ab. " * (size // 4),
    "no end": lambda size: "ab " * (size // 3),
    "numbers": lambda size: "1.2,3" * (size // 5),
    "decades": lambda size: "1980s " * (size // 6),
    "addresses": lambda size: "a@" * (size // 2),
    "dots and letters": lambda size: "a.b" * (size // 3),
    "commas": lambda size: ",a" * (size // 2),
    "Chinese": lambda size: "喜欢剧情" * (size // 4),
    "brackets": lambda size: "(" * size,
    "back slashes": lambda size: "\\" * size,
    "conjunctions": lambda size: "while but " * (size // 10),
}
GROWTH = 8
TITLE = ItemInput("Heat", {"genres": ["Crime", "Drama"]})


def cost(work: Callable[[str], object], text: str) -> float:
    """Least processor time of three runs, in seconds."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        work(text)
        taken.append(time.process_time() - began)
    return min(taken)


def of_model(text: str) -> object:
    return check(first_sentence("Because you liked Alien " + text, after=10), TITLE, [TITLE], VOCABULARY)


def of_model_in_chinese(text: str) -> object:
    return check(f"因为你喜欢《Heat》，{text}。", TITLE, [TITLE], VOCABULARY, "zh")


def of_title(text: str) -> object:
    item = ItemInput(text, {"genres": ["Crime"]})
    return check("Because you liked Alien, it is a crime drama.", item, [item], VOCABULARY)


def of_title_in_a_text_like_it(text: str) -> object:
    item = ItemInput(text, {})
    return check(f"Because you liked {text[: len(text) // 2]}, it is a film.", item, [item], VOCABULARY)


def of_values(text: str) -> object:
    values = [text[at : at + 40] for at in range(0, len(text), 40)]
    item = ItemInput("Heat", {"tags": values, "text": text})
    said = "Because you liked Alien, it is a crime drama with some node.js in it."
    return (
        check(said, item, [item], VOCABULARY),
        evidence_sentence(item, [EvidenceInput(item.title, item.attributes)], "en"),
        _pattern("{facts}", item),
    )


def of_catalog(text: str) -> object:
    vocabulary = Vocabulary([Item("1", text, {"about": text}), Item("2", text + " b", {"tags": (text, text + "c")})])
    return vocabulary.foreign_title("Because you liked Alien, it is a crime drama.", "Heat")


def of_order(text: str) -> object:
    return repaired(text, written_labels(26))


def of_opening(text: str) -> object:
    return _joined("Because you liked Alien,", text, "en")


VOCABULARY = Vocabulary([Item("1", "Heat of the Night", {"genres": ("Crime", "War")})], "films")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("work", "size"),
    [
        (of_model, 2000),  # longer text is truncated before the check
        (of_model_in_chinese, 1000),
        (of_title, 2000),
        (of_title_in_a_text_like_it, 250),
        (of_values, 4000),
        (of_catalog, 20_000),
        (of_order, 20_000),
        (of_opening, 20_000),
    ],
)
def test_time_is_linear_in_length(work: Callable[[str], object], size: int, shape: str) -> None:
    work(SHAPES[shape](size))
    short, long = (cost(work, SHAPES[shape](length)) for length in (size, size * GROWTH))
    assert long < max(short, 0.002) * GROWTH * 4, f"{short * 1000:.1f} ms, then {long * 1000:.1f} ms"


def test_common_title_prefixes_cost_no_more() -> None:
    def asked(count: int) -> Callable[[str], object]:
        vocabulary = Vocabulary(Item(str(number), f"The Film {number}") for number in range(count))
        return lambda text: vocabulary.foreign_title(text, "Heat")

    text = "the film and " * 100
    assert cost(asked(20_000), text) < max(cost(asked(200), text), 0.002) * 10


def test_longest_title_is_truncated_before_search() -> None:
    title = "Word " * 20_000
    shown = item_input(Item("1", title, {"about": title}), Sanitizer())
    assert len(shown.title) <= 300
    assert check(f"Because you liked {shown.title}, it is a film.", shown, [shown], VOCABULARY) is not None


def test_words_are_found_once() -> None:
    assert words_of("a'b'c d's") == ["a'b'c", "d's"]
