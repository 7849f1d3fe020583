"""The wheel works outside the repository."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("retrieval", "prompts", "reranker", "eval", "tuning", "api")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that no build folder is left in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), "."]
    subprocess.run([sys.executable, *command], cwd=source, check=True)
    (built,) = out.glob("whyrank-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel; dependencies come from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(with_pip=False).create(folder)
    python = folder / "bin" / "python"
    install = ["-m", "pip", "--quiet", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *install], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path in a .pth file is added without its own .pth files, so the editable install of the repository stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_holds_templates_adapter_and_type_markers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    for folder in ("prompts/templates", "reranker/adapters"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert files and files <= names  # noqa: PT018
    assert not any(name.startswith("tests/") for name in names)


def test_the_installed_command_renders_a_template(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    where = "import prompts, reranker; print(prompts.__file__); print(reranker.__file__)"
    shown = subprocess.run([python, "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert all(line.startswith(str(environment)) for line in shown.split())
    render = [str(environment / "bin" / "whyrank"), "prompts", "render", "rank"]
    done = subprocess.run(render, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "that one person chose" in done.stdout


_BLOCKED = """
import sys
blocked = set({blocked!r})
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"'{{name}}' belongs to an optional dependency")
sys.meta_path.insert(0, Block())
import api.cli.main
"""


def required() -> set[str]:
    """Names of the distributions that the wheel installs without extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found = set[tuple[str, frozenset[str]]]()
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in found:
            continue
        found.add(key)
        for line in metadata.requires(requirement.name) or []:
            needed = Requirement(line)
            if not needed.marker or any(needed.marker.evaluate({"extra": one}) for one in ("", *requirement.extras)):
                waiting.append(needed)
    return {name for name, _ in found}


def test_the_command_needs_no_optional_dependency() -> None:
    installed = required() | {"whyrank"}
    blocked = sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if not any(canonicalize_name(owner) in installed for owner in owners)
    )
    assert "pytest" in blocked
    program = _BLOCKED.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
