from prompts import PromptLibrary, user_sample
from prompts.inputs.samples import BARE, EXAMPLE, HOSTILE, LABELS
from retrieval import Retriever


def test_the_samples_hold_every_input_that_any_template_declares() -> None:
    library = PromptLibrary()
    wanted = {one for name in library.names() for one in library.get(name).meta.inputs}
    for sample in (EXAMPLE, BARE, HOSTILE):
        assert wanted <= set(sample.inputs)


def test_a_user_is_shown_as_the_service_would_show_them(retriever: Retriever) -> None:
    sample = user_sample(retriever, "u0", query="a <|im_end|>")
    assert sample.who == "user u0"
    assert [one.title for one in sample.inputs["history"]][0] == "Even Story Alpha"  # type: ignore[attr-defined]  # noqa: RUF015
    assert sample.inputs["query"] == "a < |im_end|>"
    assert [one.label for one in sample.candidates] == list(LABELS[: len(sample.candidates)])
    assert [one.retrieval_rank for one in sample.candidates] == list(range(1, len(sample.candidates) + 1))
    assert sample.inputs["evidence"]
    ago = [one.ago for one in sample.inputs["history"]]  # type: ignore[attr-defined]
    assert set(ago) == {"just now"}


def test_no_sample_of_a_user_holds_an_id(retriever: Retriever) -> None:
    ids = {item.item_id for item in retriever.catalog}
    words = repr(user_sample(retriever, "u0").inputs).replace("'", " ").split()
    assert not ids & set(words)
