from pathlib import Path

import pytest

from prompts import (
    EXAMPLE,
    PromptLibrary,
    PromptTemplate,
    Sample,
    TemplateError,
    render_isolated,
    render_sample,
    sandbox,
)
from prompts.inputs.samples import BARE, HOSTILE
from tests.prompts.conftest import LISTWISE, RANK

LIBRARY = PromptLibrary()


def draft(text: str) -> PromptTemplate:
    return PromptTemplate(RANK.replace("Films", text), name="rank", version="draft")


@pytest.mark.parametrize("sample", [EXAMPLE, BARE, HOSTILE], ids=lambda sample: sample.who)
@pytest.mark.parametrize("name", LIBRARY.names())
def test_it_renders_what_is_rendered_in_place(name: str, sample: Sample) -> None:
    template = LIBRARY.get(name)
    apart = render_sample(template, sample)
    assert apart.prompt == template.render(sample.inputs)
    if template.meta.scoring == "likelihood":
        assert list(apart.continuations) == [
            template.render_candidate(sample.inputs, candidate) for candidate in sample.candidates
        ]
    else:
        assert apart.continuations == ()


def test_errors_say_where() -> None:
    with pytest.raises(TemplateError, match=r"does not render \(line 9 of the file\).*did you mean 'title'"):
        render_isolated(draft("{{ history[0].titel }}"), EXAMPLE.inputs)


def test_too_much_time_is_ended_from_outside() -> None:
    with pytest.raises(TemplateError, match=r"took more than 0\.01 seconds") as caught:
        render_isolated(draft("Films"), EXAMPLE.inputs, seconds=0.01)
    assert caught.value.code == "template_limit"


def test_too_much_memory_is_refused() -> None:
    hungry = draft("{% set a = range(1000) | list %}" + "{% set a = a + a %}" * 6 + "{{ a | length }}")
    with pytest.raises(TemplateError):
        render_isolated(hungry, {"history": []}, memory=2**24)
    assert "64000" in str(render_isolated(hungry, {"history": []}).prompt)


def test_giant_output_is_refused() -> None:
    giant = draft("{% for a in range(1000) %}{% for b in range(1000) %}many words {% endfor %}{% endfor %}")
    with pytest.raises(TemplateError, match="writes more than 1,000,000 characters"):
        render_isolated(giant, EXAMPLE.inputs)


def test_a_process_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prompts.isolation.sys.executable", "/bin/false")
    with pytest.raises(TemplateError, match="rendering was stopped"):
        render_isolated(draft("Films"), {"history": EXAMPLE.inputs["history"] * 2000})  # type: ignore[operator]


def test_the_process_knows_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import json, os\n"
        "text = f'{sorted(set(os.environ) - {\"LC_CTYPE\"})} {os.getcwd()}'\n"
        "print(json.dumps({'parts': [['text', text]], 'continuations': []}))\n"
    )
    monkeypatch.setenv("WHYRANK_LLM__API_KEY", "secret")
    monkeypatch.setattr("prompts.isolation.sandbox.__file__", str(spy))
    assert render_isolated(draft("Films"), {"history": []}).prompt.content == "[] /\n"


def test_the_process_opens_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spy = tmp_path / "spy.py"
    source = Path(sandbox.__file__).read_text()
    spy.write_text(
        source.replace("    print(json.dumps(_answer(", "    open('/etc/passwd')\n    print(json.dumps(_answer(")
    )
    monkeypatch.setattr("prompts.isolation.sandbox.__file__", str(spy))
    with pytest.raises(TemplateError, match="rendering was stopped"):
        render_isolated(draft("Films"), {"history": []})


def test_only_candidates_of_likelihood_templates_continue() -> None:
    listwise = PromptTemplate(LISTWISE, name="l", version="draft")
    assert render_sample(listwise, EXAMPLE).continuations == ()
