import shutil
from pathlib import Path

import pytest

from prompts import PromptLibrary, TemplateError
from prompts.library import SHIPPED


def test_every_shipped_template_loads_in_every_version() -> None:
    library = PromptLibrary()
    assert library.names() == ["rank", "reason"]
    for name in library.names():
        for file in (SHIPPED / name).glob("*.jinja"):
            assert library.get(f"{name}@{file.stem}").meta.family == name
        assert library.get(name) is library.get(f"{name}@production")


@pytest.mark.parametrize("reference", ["rnak", "rank@9", "rank@nobody", "../etc/passwd", "rank@../1", "", "rank@"])
def test_an_unknown_reference_is_refused(reference: str) -> None:
    with pytest.raises(TemplateError) as caught:
        PromptLibrary().get(reference)
    assert caught.value.code == "unknown_template"


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(TemplateError, match="Did you mean 'rank'"):
        PromptLibrary().get("rnak")


def test_an_edited_release_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "templates")
    file = tmp_path / "templates" / "rank" / "1.jinja"
    file.write_text(file.read_text().replace("chose", "bought"))
    with pytest.raises(TemplateError, match="never change"):
        PromptLibrary(tmp_path / "templates").get("rank")
