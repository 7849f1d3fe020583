from eval import bench_prompts
from prompts import PromptLibrary
from retrieval import Retriever


def test_every_figure_is_there(retriever: Retriever) -> None:
    result = bench_prompts(retriever, lambda text: len(text.split()), tokenizer="words", repeats=3, users=4)
    assert result.ratio > 0
    assert result.bare_jinja_ms > 0
    assert (result.tokenizer, result.tokens is not None) == ("words", True)
    rows = {row.template: row for row in result.tokens_per_candidate}
    assert len(rows) == 12
    # "A. Even Story Alpha (genres: Drama)" is six words; without attributes four.
    assert rows["rank-labels@1"].with_attributes == 6
    assert rows["rank-labels@1"].without_attributes == 4
    # "Even Story Alpha" is three.
    rank = rows[PromptLibrary().get("rank").reference]
    assert (rank.with_attributes, rank.without_attributes) == (3, 3)


def test_without_a_tokenizer_it_says_so(retriever: Retriever) -> None:
    result = bench_prompts(retriever, None, repeats=3)
    assert result.tokens is None
    assert result.tokens_per_candidate == []
    assert "tokens were not counted" in result.notes[0]
