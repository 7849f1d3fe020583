import fcntl
import gc
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from retrieval import (
    AlsParameters,
    ArtifactError,
    Manifest,
    builds,
    current_build,
    current_data,
    encode_dataset,
    fit,
    load,
)
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
    encoded = encode_dataset(checkerboard())
    assert list(artifact.user_ids) == encoded.user_ids
    np.testing.assert_array_equal(artifact.user_items.toarray(), encoded.user_items.toarray())
    np.testing.assert_array_equal(artifact.log.items, encoded.log.items)


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
    ["items.parquet", "users.parquet", "user_factors.npy", "log_items.npy", "text/vocabulary.json", "manifest.json"],
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
    with pytest.raises(ArtifactError, match="this version reads format 4") as caught:
        load(tmp_path)
    assert caught.value.code == code


def test_no_artifact_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="whyrank fit"):
        load(tmp_path / "nowhere")


def hostile(directory: Path, name: str, change: Callable[[Path], None]) -> None:
    """Changes a file of the current build, with a manifest that agrees to it."""
    folder = build(directory)
    change(folder / name)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["checksums"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def array(edit: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Path], None]:
    return lambda file: np.save(file, edit(np.load(file)))


def last(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def edit(values: NDArray[Any]) -> NDArray[Any]:
        values.flat[-1] = value
        return values

    return edit


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("log_items.npy", array(last(10**6))),
        ("log_items.npy", array(last(-2))),
        ("log_items.npy", array(lambda values: values[:-1])),
        ("log_items.npy", array(lambda values: values.astype(np.float64))),
        ("log_events.npy", array(last(7))),
        ("log_indptr.npy", array(last(10**6))),
        ("log_indptr.npy", array(lambda values: values[::-1].copy())),
        ("log_weights.npy", array(last(float("nan")))),
        ("confidence_indices.npy", array(last(99))),
        ("confidence_indptr.npy", array(lambda values: values[:-1])),
        ("confidence_data.npy", array(last(float("inf")))),
        ("user_factors.npy", array(lambda values: values[:, :-1])),
        ("item_factors.npy", array(lambda values: values[:-1])),
        ("item_factors.npy", array(lambda values: values.astype(">f4"))),
        ("text/indices.npy", array(last(99))),
        ("text/indptr.npy", array(last(10**6))),
        ("text/vocabulary.json", lambda file: file.write_text("{")),
        ("text/vocabulary.json", lambda file: file.write_text('["a"]')),
        ("text/vocabulary.json", lambda file: file.write_text("[" * 100_000)),
        ("item_factors.npy", lambda file: file.write_bytes(b"")),
        ("item_factors.npy", lambda file: file.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O'}   ")),
        ("items.parquet", lambda file: file.write_bytes(b"PAR1PAR1")),
        ("items.parquet", lambda file: pl.read_parquet(file).head(3).write_parquet(file)),
        ("items.parquet", lambda file: pl.read_parquet(file).drop("title").write_parquet(file)),
        ("items.parquet", lambda file: pl.read_parquet(file).with_columns(item_id=pl.lit("i")).write_parquet(file)),
        ("users.parquet", lambda file: pl.read_parquet(file).reverse().write_parquet(file)),
        ("texts.parquet", lambda file: pl.DataFrame({"position": [9999], "text": ["x"]}).write_parquet(file)),
    ],
)
def test_files_that_do_not_fit_together_are_refused_at_once(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    fitted(tmp_path)
    hostile(tmp_path, name, change)
    with pytest.raises(ArtifactError, match="whyrank fit"):
        load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"users": 10**12},
        {"items": -1},
        {"interactions": 3},
        {"event_names": []},
        {"checksums": {}},
        {"checksums": {"../../etc/passwd": "0" * 64}},
        {"checksums": {"/etc/passwd": "0" * 64}},
        {"parameters": {"factors": 5}},
        {"surprise": 1},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    fitted(tmp_path)
    file = build(tmp_path) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ArtifactError, match="whyrank fit"):
        load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"../../etc", b"build-0123456789abcdef", b"\xff\xfe", b"build-" * 10_000, None]
)
def test_a_pointer_that_names_no_build_is_refused(tmp_path: Path, content: bytes | None) -> None:
    fitted(tmp_path)
    (tmp_path / "CURRENT").unlink()
    if content is None:
        (tmp_path / "CURRENT").mkdir()
    else:
        (tmp_path / "CURRENT").write_bytes(content)
    with pytest.raises(ArtifactError, match="whyrank fit"):
        load(tmp_path)
    assert current_data(tmp_path) is None
    if content is not None:
        fitted(tmp_path)  # mends it
        load(tmp_path)


def test_what_is_overwritten_in_place_is_found_and_harms_nobody(tmp_path: Path) -> None:
    fitted(tmp_path)
    artifact = load(tmp_path)
    factors, history = artifact.model.item_factors.copy(), artifact.log.items.copy()
    assert artifact.changed() == []
    contents = {file: file.read_bytes() for file in build(tmp_path).rglob("*") if file.is_file()}
    for file in contents:
        os.truncate(file, 0)
    assert "item_factors.npy" in artifact.changed()
    assert "text/vocabulary.json" in artifact.changed()
    np.testing.assert_array_equal(artifact.model.item_factors, factors)
    np.testing.assert_array_equal(artifact.log.items, history)
    for file, content in contents.items():
        file.write_bytes(content)
    assert artifact.changed() == []


def test_the_same_fit_has_the_same_name_in_every_process(tmp_path: Path) -> None:
    fit_it = (
        "import sys; from pathlib import Path; from retrieval import AlsParameters, fit, readers;"
        "print(fit(Path(sys.argv[1]), readers.movielens(), AlsParameters(factors=8, iterations=2)).name)"
    )
    names = set()
    for number in (1, 2):
        own = {"PYTHONHASHSEED": str(number), "OMP_NUM_THREADS": str(number), "POLARS_MAX_THREADS": str(number)}
        command = [sys.executable, "-c", fit_it, str(tmp_path / str(number))]
        ran = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=True)
        names.add(ran.stdout.strip())
        assert current_build(tmp_path / str(number)) in names
    assert len(names) == 1


def test_fitting_again_what_is_in_use_keeps_the_build_and_the_one_before(tmp_path: Path) -> None:
    fitted(tmp_path, 1)
    before = build(tmp_path)
    first = fitted(tmp_path, 2)
    inode = (build(tmp_path) / "items.parquet").stat().st_ino
    again = fitted(tmp_path, 2)
    assert again.created > first.created
    assert load(tmp_path).manifest == again
    assert (build(tmp_path) / "items.parquet").stat().st_ino == inode
    assert before.is_dir()


def test_what_is_loaded_is_not_removed(tmp_path: Path) -> None:
    fitted(tmp_path, 1)
    first, serving = build(tmp_path), load(tmp_path)
    for seed in (2, 3, 4):
        fitted(tmp_path, seed)
    assert first.is_dir()
    assert serving.changed() == []
    del serving
    gc.collect()
    fitted(tmp_path, 5)
    assert not first.exists()


def test_fits_at_once_all_end_well(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = {manifest.name for manifest in pool.map(partial(fitted, tmp_path), range(8))}
    current = load(tmp_path).manifest.name
    assert current in names
    left = {path.name for path in tmp_path.glob("build-*")}
    assert {current, (tmp_path / "PREVIOUS").read_text()} <= left
    assert not list(tmp_path.glob(".writing-*"))


KILLED = """
import os, signal, sys
from pathlib import Path
from retrieval import AlsParameters, fit
from tests.checkerboard import checkerboard
left = [int(sys.argv[2])]
def hook(event, arguments):
    if event in ("os.rename", "os.mkdir", "open") and any(sys.argv[1] in str(one) for one in arguments):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
fit(Path(sys.argv[1]), checkerboard(), AlsParameters(factors=4, seed=int(sys.argv[3])))
"""


@pytest.mark.parametrize("at", [2, 3, 12, 30, 40, 45, 48, 50, 52, 54, 56, 60])
def test_a_fit_that_is_killed_at_any_point_leaves_a_whole_artifact_and_nothing_for_ever(
    tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "artifact"
    fitted(folder, 1)
    command = [sys.executable, "-c", KILLED, str(folder), str(at), "2"]
    subprocess.run(command, check=False, capture_output=True, cwd=Path(__file__).parents[2])
    assert load(folder).manifest.parameters.seed in (1, 2)
    fitted(folder, 3)
    assert load(folder).manifest.parameters.seed == 3
    assert not list(folder.glob(".writing-*"))


def test_the_scratch_folder_of_a_running_fit_stays(tmp_path: Path) -> None:
    with builds.scratch_folder(tmp_path) as scratch:
        fitted(tmp_path)
        assert scratch.is_dir()
    assert not scratch.exists()


def test_a_fit_that_hangs_while_it_publishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted(tmp_path)
    with (tmp_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(builds, "_LOCK_TIMEOUT_S", 0.05)
        with pytest.raises(ArtifactError, match="hangs"):
            fitted(tmp_path, 2)
    load(tmp_path)


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_fitted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written") as caught:
        fit(tmp_path / "file" / "artifact", checkerboard(), AlsParameters(factors=2))
    assert caught.value.code == "artifact_unwritable"
