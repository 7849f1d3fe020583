import re

import pytest

from prompts import EXAMPLE, PromptLibrary, PromptTemplate, TemplateError, check_template
from prompts.library.library import SHIPPED
from tests.prompts.conftest import LISTWISE, RANK

LIBRARY = PromptLibrary()


@pytest.mark.parametrize("name", LIBRARY.names())
def test_every_shipped_template_passes(name: str) -> None:
    (shown,) = check_template(LIBRARY.get(name), [EXAMPLE])
    assert str(shown.prompt) == str(LIBRARY.get(name).render(EXAMPLE.inputs))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (LISTWISE.replace("- {{ entry", "{{ entry"), "data can begin a line ('Zqx B. Another film"),
        (LISTWISE.replace("label }}. ", "label }}.\n"), "data can begin a line"),
        (LISTWISE.replace("{{ candidate.label }}.", "-"), "does not begin with its label"),
        (LISTWISE.replace("{{ entry.title }}", "{{ entry.rating + 1 }}"), "does not render"),
        (LISTWISE.replace("{{ entry.title }}", "{{ history[0].ago.title }}"), "seen with an example"),
        (LISTWISE.replace("Which?", "{{ history[0].title }}: which?"), "somebody of whom nothing is known"),
        (RANK.replace("{{ candidate.title }}", "Alien"), "continues alike for different candidates"),
        (RANK.replace("Films, in order:", "").replace("{{ entry.title }}", ""), "writes nothing"),
    ],
)
def test_what_would_fail_later_fails_now(source: str, says: str) -> None:
    with pytest.raises(TemplateError) as caught:
        check_template(PromptTemplate(source, name="t", version="draft"))
    assert says in str(caught.value)


def test_the_template_in_the_readme_passes() -> None:
    readme = (SHIPPED.parent / "README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```\n(---\ndescription:.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    check_template(PromptTemplate(source, name="t", version="draft"))


def test_data_behind_a_sign_or_in_a_plain_list_is_fine() -> None:
    check_template(PromptTemplate(LISTWISE, name="t", version="draft"))
    check_template(PromptTemplate(RANK, name="t", version="draft"))
