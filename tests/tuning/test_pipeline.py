"""From histories to an adapter: what it learns, what its record says, and how training fails."""

import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.guard import adapter_training
from prompts import PromptLibrary, PromptTemplate
from reranker.adapter import AdapterManifest, load_adapter
from retrieval import ArtifactError, DataError, InputError
from tests.tuning.conftest import pairs
from tests.tuning.test_candidate_choices import template
from tests.tuning.test_prompt_writer import CHAT
from tuning import TrainingData, TrainingEstimate, TuningOptions, split_for_training, tune

OPTIONS = TuningOptions(rank=16, epochs=8, learning_rate=1e-2, scatter=0.0, patience=99, validation_users=20)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return split_for_training(pairs(), for_eval=True)


def train(
    data: TrainingData, checkpoint: Path, out: Path, options: TuningOptions = OPTIONS, **more: Any
) -> AdapterManifest:
    return tune(
        data,
        more.pop("prompt", None) or PromptLibrary().get("rank@1"),
        out,
        model=str(checkpoint),
        base="tiny",
        history_limit=30,
        options=options,
        **more,
    )


@pytest.fixture(scope="module")
def adapter(data: TrainingData, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "adapter"
    train(data, checkpoint, out)
    return out


def logprob(checkpoint: Path, adapter: Path | None, before: str, line: str) -> float:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    start, end = (tokenizer(text, add_special_tokens=False).input_ids for text in (before, line))
    with torch.no_grad():
        values = torch.log_softmax(model(input_ids=torch.tensor([start + end])).logits[0], -1)
    return sum(float(values[len(start) - 1 + place, token]) for place, token in enumerate(end))


def test_adapter_learns_what_follows_what(checkpoint: Path, adapter: Path) -> None:
    manifest = load_adapter(adapter, thorough=True)
    assert manifest.loss_after < manifest.loss_before - 5
    before = "Stories that one person chose, in order:\nHarbour 4\nLantern 4\nHarbour 7\n"
    trained, untrained = (
        logprob(checkpoint, folder, before, "Lantern 7\n") - logprob(checkpoint, folder, before, "Lantern 9\n")
        for folder in (adapter, None)
    )
    assert trained > untrained + 1
    assert [path.name for path in adapter.parent.iterdir()] == ["adapter"], "no checkpoints are left"


def test_manifest_records_model_prompt_and_data(data: TrainingData, adapter: Path) -> None:
    manifest = load_adapter(adapter, thorough=True)
    template = PromptLibrary().get("rank@1")
    assert (manifest.template, manifest.template_hash) == ("rank@1", template.hash)
    assert (manifest.data_hash, manifest.train_hash) == (pairs().hash, data.train.hash)
    assert manifest.name.startswith("tiny-tuned-")
    assert manifest.misfit(base="tiny", template_hash=template.hash, data_hash=pairs().hash) is None
    assert "belongs to the model 'tiny'" in (manifest.misfit(base="other") or "")
    assert "other weights" in (manifest.misfit(base_hash="0") or "")
    assert "rank@1" in (manifest.misfit(template_hash="0") or "")
    assert "other data" in (manifest.misfit(data_hash="0") or "")
    made = adapter_training(pairs(), manifest)
    assert made is not None
    assert made.train.hash == data.train.hash
    assert made.seen.interactions.height == data.train.interactions.height + data.later.interactions.height
    assert adapter_training(pairs(planted=True), manifest) is None


def test_resumed_training_ends_with_the_same_adapter(
    data: TrainingData, checkpoint: Path, tmp_path: Path, adapter: Path
) -> None:
    out = tmp_path / "adapter"
    updates: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        train(data, checkpoint, out, on_update=updates.append, stop_requested=lambda: len(updates) == 25)
    assert load_adapter(out, thorough=True).steps <= 26, "the best adapter so far is in place"
    with pytest.raises(DataError, match="other data, model, prompt or options"):
        train(data, checkpoint, out, replace(OPTIONS, seed=1), resume=True)
    resumed, whole = train(data, checkpoint, out, resume=True), load_adapter(adapter)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert (resumed.steps, resumed.tokens, resumed.loss_after) == (whole.steps, whole.tokens, whole.loss_after)


def test_resume_needs_a_checkpoint(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training to resume"):
        train(data, checkpoint, tmp_path / "adapter", resume=True)


def test_minutes_limit_the_plan(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    estimates: list[TrainingEstimate] = []
    options = replace(OPTIONS, epochs=100, minutes=0.02)
    train(data, checkpoint, tmp_path / "adapter", options, on_estimate=estimates.append)
    [estimate] = estimates
    assert estimate.steps < 100 * estimate.examples / 8
    assert estimate.seconds <= 0.02 * 60


def test_labels_are_learned_as_choices(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=3, negatives=7)
    manifest = train(data, checkpoint, tmp_path / "adapter", options, prompt=template("listwise"))
    assert manifest.loss_after < manifest.loss_before - 0.2
    assert manifest.settings["negatives"] == 7


def test_full_disk_keeps_the_best_adapter(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(progress: Any) -> None:
        if progress.step == 30:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    out = tmp_path / "adapter"
    try:
        with pytest.raises(DataError, match=r"--out.*cannot be written.*--resume"):
            train(data, checkpoint, out, on_update=fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    interrupted = load_adapter(out, thorough=True)
    assert train(data, checkpoint, out, resume=True).loss_after < interrupted.loss_after


def test_training_that_does_not_help_is_refused(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=1, learning_rate=1e-30)
    with pytest.raises(DataError, match=r"--learning-rate.*did not improve"):
        train(data, checkpoint, tmp_path / "adapter", options)
    assert not (tmp_path / "adapter").exists()


def test_chat_without_chat_template_is_refused(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    without = tmp_path / "without"
    shutil.copytree(checkpoint, without)
    (without / "chat_template.jinja").unlink()
    chat = PromptTemplate(CHAT, name="chat", version="1")
    with pytest.raises(InputError, match=r"--prompt.*chat template does not accept chat@1"):
        train(data, without, tmp_path / "adapter", prompt=chat)


def test_other_folders_are_not_overwritten(data: TrainingData, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"1")
    with pytest.raises(InputError, match="is not an adapter's folder"):
        train(data, checkpoint, tmp_path / "photos")
    assert (tmp_path / "photos" / "1.jpg").is_file()


def test_damaged_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    (copy / "adapter_model.safetensors").write_bytes(b"0" * (adapter / "adapter_model.safetensors").stat().st_size)
    load_adapter(copy)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_adapter(copy, thorough=True)
    (copy / "adapter_config.json").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        load_adapter(copy)
