import shutil
from pathlib import Path

import pytest

from prompts import PromptEditor, PromptLibrary
from prompts.library.library import ALIASES, HASHES, SHIPPED
from prompts.library.names import DEFAULT_ALIAS
from prompts.library.store import read_table, write_table

RANK = """---
description: d
task: rank
scoring: likelihood
format: text
inputs: [history]
---
text:
Films, in order:
{% for entry in history %}
{{ entry.title }}
{% endfor %}
candidate:
{{ candidate.title }}
"""
LISTWISE = """---
description: d
task: rank
scoring: listwise
format: chat
inputs: [history, candidates]
attributes: [genres, year]
---
user:
{% for entry in history %}
- {{ entry.title }} ({{ entry.details }})
{% endfor %}
Which?
{% for candidate in candidates %}
{{ candidate.label }}. {{ candidate.title }} ({{ candidate.details }})
{% endfor %}
assistant:
Answer:
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write the golden files anew, on purpose.")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the shipped templates, each in its first version alone, so that tests can count on from there."""
    folder = tmp_path / "shipped"
    shutil.copytree(SHIPPED, folder)
    hashes = read_table(folder / HASHES)
    write_table(folder / HASHES, {name: {"1": row["1"]} for name, row in hashes.items()})
    write_table(folder / ALIASES, {name: {DEFAULT_ALIAS: 1} for name in hashes})
    return folder


@pytest.fixture
def library(tmp_path: Path, shipped: Path) -> PromptLibrary:
    """Those templates with an empty folder of a team's own before them."""
    return PromptLibrary(tmp_path / "own", shipped=shipped)


@pytest.fixture
def editor(library: PromptLibrary) -> PromptEditor:
    """Changes that library."""
    return PromptEditor(library, who="ann")
