import json
from pathlib import Path

import numpy as np
import pytest

from retrieval import AlsParameters, ArtifactError, Manifest, current_build, encode, fit, load
from tests.checkerboard import checkerboard


def fitted(directory: Path, seed: int = 1) -> Manifest:
    return fit(directory, checkerboard(), AlsParameters(factors=4, seed=seed))


def build(directory: Path) -> Path:
    name = current_build(directory)
    assert name is not None
    return directory / name


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    manifest = fitted(tmp_path)
    artifact = load(tmp_path)
    assert artifact.manifest == manifest
    assert manifest.data_hash == checkerboard().hash
    assert manifest.versions["implicit"]
    encoded = encode(checkerboard())
    assert list(artifact.user_ids) == encoded.user_ids
    np.testing.assert_array_equal(artifact.user_items.toarray(), encoded.user_items.toarray())
    np.testing.assert_array_equal(artifact.log.items, encoded.log.items)
    assert isinstance(artifact.model.user_factors, np.memmap)


def test_a_new_fit_replaces_the_old_and_keeps_one_behind(tmp_path: Path) -> None:
    builds = []
    for seed in (1, 2, 3):
        fitted(tmp_path, seed)
        builds.append(build(tmp_path))
    assert len(set(builds)) == 3
    assert sorted(tmp_path.glob("build-*")) == sorted(builds[1:])
    assert not list(tmp_path.glob(".writing-*"))


def test_an_interrupted_fit_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted(tmp_path, 1)
    before = build(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ArtifactError, match="No space left"):
        fitted(tmp_path, 2)
    assert build(tmp_path) == before
    assert load(tmp_path).manifest.parameters.seed == 1


def test_a_damaged_build_is_refused_and_mended_by_the_next_fit(tmp_path: Path) -> None:
    fitted(tmp_path)
    file = build(tmp_path) / "item_factors.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"item_factors\.npy is missing or damaged.*whyrank fit"):
        load(tmp_path)
    fitted(tmp_path)
    load(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["items.parquet", "users.parquet", "user_factors.npy", "log_items.npy", "text/vocab.index.json", "manifest.json"],
)
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    fitted(tmp_path)
    (build(tmp_path) / name).unlink()
    with pytest.raises(ArtifactError, match=name.split(".")[0].split("/")[-1]):
        load(tmp_path)


@pytest.mark.parametrize(
    ("format_", "code"), [(0, "artifact_format"), (2, "artifact_format"), ("x", "artifact_format")]
)
def test_another_format_is_refused(tmp_path: Path, format_: object, code: str) -> None:
    fitted(tmp_path)
    file = build(tmp_path) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": format_}))
    with pytest.raises(ArtifactError, match="this version reads format 3") as caught:
        load(tmp_path)
    assert caught.value.code == code


def test_no_artifact_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="whyrank fit"):
        load(tmp_path / "nowhere")
