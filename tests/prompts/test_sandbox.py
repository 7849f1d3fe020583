"""Template source is untrusted code: each attack is refused when it is read, or stopped by a limit when it runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError as JinjaError

from prompts import sandbox
from prompts.inputs.inputs import ItemInput
from prompts.sandbox import FILTERS, MAX_STRING, TESTS, Sandbox, SandboxError, fill, line_of

GIVEN = {"history": [ItemInput("Heat", {"genres": ["Crime"], "year": 1995})] * 3, "noun": "films", "year": 1995}

REFUSED = [
    # the ways to Python's classes, functions and globals
    "{{ history.__class__ }}",
    "{{ history['__class__'] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ noun.__init__.__globals__ }}",
    "{{ range.__self__ }}",
    "{{ self }}",
    "{{ self.__init__ }}",
    "{{ _deadline }}",
    "{{ history | attr('__class__') }}",
    "{{ noun | attr('format') }}",
    "{{ '{0.__class__}'.format(noun) }}",
    "{{ '{0.__class__}' | format(noun) }}",
    "{{ noun.format_map(noun) }}",
    "{{ noun | pprint }}",
    "{{ noun | tojson }}",
    "{{ noun | xmlattr }}",
    "{{ noun | safe }}",
    "{{ noun is filter }}",
    "{{ noun is callable }}",
    "{{ noun is sameas noun }}",
    "{{ cycler('a') }}",
    "{{ joiner() }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ lipsum(9) }}",
    "{{ range(1)(2) }}",
    "{{ history.append(1) }}",
    "{{ noun.upper() }}",
    "{{ range(*history) }}",
    # other files, blocks and code
    "{% import 'a' as b %}",
    "{% from 'a' import b %}",
    "{% include 'a' %}",
    "{% extends 'a' %}",
    "{% block a %}{% endblock %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{% call history() %}{% endcall %}",
    "{% filter upper %}a{% endfilter %}",
    "{% set a %}b{% endset %}",
    "{% set history.title = 1 %}",
    "{% do history %}",
    "{% for a in history recursive %}{{ loop(history) }}{% endfor %}",
    "{% for a in history %}{{ loop(history) }}{% endfor %}",
    # what grows out of all proportion
    "{{ 'a' * 1000000000 }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 9 // 1 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ noun | center(1000000000) }}",
    "{{ noun | indent(1000000000) }}",
    "{{ noun | wordwrap(1) }}",
    "{{ history | batch(1000000000, 'a') | list }}",
    "{% set a = [noun, noun] %}{% set b = [a, a] %}{{ b }}",
    "{{ [noun] }}",
    "{{ {'a': noun} }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "not " * 3000 + "1 }}",
    "{{ 1 " + "+ 1 " * 3000 + "}}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "{{ 1" + "0" * 5000 + " }}",
]
STOPPED = [
    "{{ range(1001) | list | length }}",
    "{{ range(10000000000000000000000000000000) | length }}",
    "{{ noun | replace('', '" + "a" * 5000 + "') | replace('a', '" + "b" * 5000 + "') }}",
    "{{ history | map(attribute='__class__') | join }}",
    "{{ history | map('attr', '__class__') | list | length }}",
    "{{ history | map('format') | list | length }}",
    "{{ history | selectattr('__class__', 'callable') | list | length }}",
    "{{ history[0]['__cl' ~ 'ass__'] }}",
    "{{ history | join(attribute='__class__') }}",
    "{{ year | round(-1000000000) }}",
    "{{ history }}",
    "{{ history[0] }}",
    "{{ history[0].attributes }}",
    "{{ range }}",
    "{{ noun.upper }}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 60 + "{{ a }}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a + a %}" * 60 + "{{ a }}",
    "{% set a = [1, 2] %}" + "{% set a = a + a %}" * 60 + "{{ a | length }}",
    "{% for a in range(1000) %}{% for b in range(1000) %}" + "x" * 50 + "{% endfor %}{% endfor %}",
]


@pytest.mark.parametrize("source", REFUSED, ids=lambda source: source[:60])
def test_what_no_prompt_needs_is_refused_before_it_runs(source: str) -> None:
    with pytest.raises(JinjaError):
        Sandbox().compiled(source)


@pytest.mark.parametrize("source", STOPPED, ids=lambda source: source[:60])
def test_what_cannot_be_seen_in_the_source_is_stopped(source: str) -> None:
    template, _ = Sandbox().compiled(source)
    with pytest.raises((JinjaError, OverflowError)):
        fill(template, GIVEN)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(1000) %}" * 3 + "{% endfor %}" * 3,
        "{% for a in range(1000) %}" * 2 + "{% for b in range(1000) if b < 0 %}" + "{% endfor %}" * 3,
    ],
)
def test_loops_end_with_the_clock(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.05)
    template, _ = Sandbox().compiled(source)
    with pytest.raises(SandboxError, match="seconds"):
        fill(template, GIVEN)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ noun | capitalize }}, {{ year + 1 }}, {{ 4.0 }}, {{ 4.5 }}, {{ none }}", "Films, 1996, 4, 4.5, "),
        ("{% for a in history %}{{ loop.index }}{{ a.title }}{% endfor %}", "1Heat2Heat3Heat"),
        ("{% for a in history %}{{ loop.cycle('x', 'y') }}{% else %}none{% endfor %}", "xyx"),
        ("{% for k, v in history[0].attributes.items() %}{{ k }} {% endfor %}", "genres year "),
        ("{{ history[0].attributes.genres | join(', ') }}", "Crime"),
        ("{{ history | map(attribute='title') | join('/') }}", "Heat/Heat/Heat"),
        ("{{ history[0].attributes.studio | default('?') }} {{ history[0].attributes.get('x', 1) }}", "? 1"),
        ("{% set a = noun ~ '!' %}{{ a }} {{ noun in ['films', 'x'] }}", "films! True"),
        ("{{ noun | replace('f', 'F') }} {{ noun[:2] }} {{ 2.25 | round(1) }}", "Films fi 2.2"),
        ("{{ history[-1].title | upper }} {{ history | length }} {{ -year }}", "HEAT 3 -1995"),
        ("{% with a = 1 %}{% if a is odd and not a > 1 %}odd{% endif %}{% endwith %}", "odd"),
    ],
)  # fmt: skip
def test_what_a_prompt_needs_works(source: str, text: str) -> None:
    template, _ = Sandbox().compiled(source)
    assert fill(template, GIVEN) == text


def test_errors_say_what_to_write_instead_and_where() -> None:
    with pytest.raises(SandboxError, match=r"write '\| upper'"):
        Sandbox().compiled("{{ noun.upper() }}")
    with pytest.raises(SandboxError, match="did you mean 'capitalize'"):
        Sandbox().compiled("{{ noun | capitalise }}")
    template, _ = Sandbox().compiled("one\n{{ history[0].titel }}")
    with pytest.raises(JinjaError, match="did you mean 'title'") as caught:
        fill(template, GIVEN)
    assert line_of(caught.value) == 2


def test_the_lists_name_what_jinja_has() -> None:
    assert {"attr", "format", "tojson", "safe"}.isdisjoint(FILTERS)
    assert {"callable", "filter", "sameas"}.isdisjoint(TESTS)
    assert set(Sandbox().filters) == FILTERS | {"_timed"}
    assert set(Sandbox().tests) == TESTS


@given(st.lists(st.text(max_size=30), max_size=8), st.text(max_size=3))
def test_join_joins(parts: list[str], between: str) -> None:
    template, _ = Sandbox().compiled("{{ parts | join(between) }}|{{ between ~ between }}")
    assert fill(template, {"parts": parts, "between": between}) == between.join(parts) + "|" + between * 2


@given(st.text(alphabet="ab", max_size=40), st.text(alphabet="ab", max_size=2), st.text(max_size=60))
def test_replace_replaces(text: str, old: str, new: str) -> None:
    template, _ = Sandbox().compiled("{{ text | replace(old, new) }}")
    assert fill(template, {"text": text, "old": old, "new": new}) == text.replace(old, new)


def test_a_string_at_the_limit_passes_and_one_beyond_does_not() -> None:
    template, _ = Sandbox().compiled("{{ a ~ b }}")
    assert len(fill(template, {"a": "x" * (MAX_STRING - 1), "b": "y"})) == MAX_STRING
    with pytest.raises(SandboxError, match="100,001"):
        fill(template, {"a": "x" * MAX_STRING, "b": "y"})
