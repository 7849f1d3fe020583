from pathlib import Path

import pytest

from prompts import PromptEditor, PromptLibrary

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
def library(tmp_path: Path) -> PromptLibrary:
    """The shipped templates with an empty folder of a team's own before them."""
    return PromptLibrary(tmp_path / "own")


@pytest.fixture
def editor(library: PromptLibrary) -> PromptEditor:
    """Changes that library."""
    return PromptEditor(library, who="ann")
