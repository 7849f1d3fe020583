"""Every route under generated requests: no failures, and only answers that the OpenAPI page describes."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig

from api.http.security import needs_key
from retrieval import Store
from tests.api.process import apart, serving
from tests.standin import StandIn

EXAMPLES = 25

# No schema can list the existing items, users, attributes and templates; such requests are rejected correctly.
CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            "positive_data_acceptance": {"expected-statuses": ["2xx", 403, 404, 409, 412, 413, 422, 428, 503]},
            "negative_data_rejection": {"expected-statuses": ["4xx"]},
        }
    }
)


NEGATIVE, POSITIVE = schemathesis.GenerationMode.NEGATIVE, schemathesis.GenerationMode.POSITIVE


@pytest.fixture(scope="module")
def page(artifact_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    folder = tmp_path_factory.mktemp("service")
    with StandIn() as standin, serving(folder, **apart(folder, artifact_dir, standin.url)) as service:
        yield schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=CONFIG)
        assert '"event": "fault"' not in service.log.read_text()


@pytest.fixture(scope="module")
def keyed(
    artifact_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[schemathesis.BaseSchema, str]]:
    """The page of a service that asks for keys, and one that may do everything."""
    folder = tmp_path_factory.mktemp("keyed")
    with StandIn() as standin, closing(Store(folder / "store.sqlite")) as store:
        _, key = store.create_key("test", frozenset({"admin"}))
        with serving(
            folder, **apart(folder, shutil.copytree(artifact_dir, folder / "artifact"), standin.url)
        ) as service:
            yield schemathesis.openapi.from_url(f"{service.url}/openapi.json", config=CONFIG), key
            assert '"event": "fault"' not in service.log.read_text()
            assert key not in service.log.read_text()


OPERATIONS = """
POST /v1/recommendations
POST /v1/wishes/understand
POST /rerank
POST /v1/rerank
POST /v2/rerank
POST /v1/events
PUT /v1/items
DELETE /v1/items/{item_id}
GET /v1/items
GET /v1/items/{item_id}
GET /v1/items/{item_id}/similar
DELETE /v1/users/{user_id}
POST /v1/users/{user_id}/merge
GET /v1/users
GET /v1/users/{user_id}
GET /v1/prompts
POST /v1/prompts/render
POST /v1/prompts/try
GET /v1/prompts/{name}
POST /v1/prompts/{name}
GET /v1/prompts/{name}/aliases/{alias}
PUT /v1/prompts/{name}/aliases/{alias}
POST /v1/prompts/{name}/aliases/{alias}/rollback
GET /v1/prompts/{name}/changes
GET /v1/prompts/{name}/versions
GET /v1/prompts/{name}/diff
GET /v1/prompts/{name}/draft
PUT /v1/prompts/{name}/draft
DELETE /v1/prompts/{name}/draft
GET /v1/experiments
POST /v1/experiments
GET /v1/experiments/{experiment_id}
GET /v1/experiments/{experiment_id}/report
GET /v1/experiments/{experiment_id}/page
POST /v1/experiments/{experiment_id}/stop
GET /v1/choices
POST /v1/choices
POST /v1/choices/pairs
GET /v1/status
GET /health/live
GET /health/ready
GET /metrics
""".strip().splitlines()


def test_no_route_is_left_out(page: schemathesis.BaseSchema) -> None:
    found = {f"{method.upper()} {path}" for path, methods in page.raw_schema["paths"].items() for method in methods}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_route_answers_as_described_with_a_key_and_without(
    keyed: tuple[schemathesis.BaseSchema, str], operation: str
) -> None:
    page, key = keyed
    method, path = operation.split()
    described = page[path][method]

    @hypothesis.given(case=described.as_strategy(generation_mode=POSITIVE))
    @hypothesis.settings(
        max_examples=EXAMPLES // 5,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def every(case: schemathesis.Case) -> None:  # type: ignore[type-arg]
        allowed = case.call_and_validate(headers={"authorization": f"Bearer {key}"})
        assert allowed.status_code != 401
        if needs_key(path):
            assert case.call(headers={"authorization": "Bearer none"}).status_code in (401, 408, 413)

    every()


@pytest.mark.parametrize("mode", [POSITIVE, NEGATIVE], ids=["allowed", "wrong"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_route_answers_as_described(
    page: schemathesis.BaseSchema, operation: str, mode: schemathesis.GenerationMode
) -> None:
    method, path = operation.split()
    described = page[path][method]

    @hypothesis.given(case=described.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    def every(case: schemathesis.Case) -> None:  # type: ignore[type-arg]
        case.call_and_validate()

    try:
        every()
    except (hypothesis.errors.Unsatisfiable, hypothesis.errors.InvalidArgument):
        pytest.skip("nothing of this route can be wrong")
