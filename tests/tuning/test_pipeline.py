"""From histories to an adapter: what it learns, that it goes on where it stopped, and how it fails."""

import json
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval.guard import training_of
from prompts import PromptLibrary, PromptTemplate
from reranker.adapter import AdapterManifest, load_adapter
from retrieval import ArtifactError, DataError, InputError
from tests.tuning.conftest import pairs
from tests.tuning.test_windows import CHAT
from tuning import Data, Options, prepare, tune
from tuning.training import Trainer

OPTIONS = Options(rank=16, epochs=12, learning_rate=5e-3, scatter=0.0, patience=99, validation_users=20)


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(pairs(), judged=True)


def train(data: Data, checkpoint: Path, out: Path, options: Options = OPTIONS, **more: Any) -> AdapterManifest:
    return tune(
        data,
        PromptLibrary().get("rank@1"),
        out,
        model=str(checkpoint),
        base="tiny",
        history_limit=30,
        options=options,
        **more,
    )


@pytest.fixture(scope="module")
def adapter(data: Data, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_learns_what_follows_what(data: Data, checkpoint: Path, tmp_path: Path, method: Any) -> None:
    rate = 5e-3 if method == "lora" else 3e-3
    manifest = train(data, checkpoint, tmp_path / "adapter", replace(OPTIONS, method=method, learning_rate=rate))
    assert manifest.loss_after < manifest.loss_before - 5
    before = "Stories that one person chose, in order:\nHarbour 4\nLantern 4\nHarbour 7\n"
    right, wrong = "Lantern 7\n", "Lantern 9\n"
    gain = logprob(checkpoint, tmp_path / "adapter", before, right) - logprob(
        checkpoint, tmp_path / "adapter", before, wrong
    )
    untrained = logprob(checkpoint, None, before, right) - logprob(checkpoint, None, before, wrong)
    assert gain > untrained + 1
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_the_record_says_what_it_is_good_for(data: Data, checkpoint: Path, adapter: Path) -> None:
    manifest = load_adapter(adapter, thorough=True)
    template = PromptLibrary().get("rank@1")
    assert (manifest.template, manifest.template_hash) == ("rank@1", template.hash)
    assert (manifest.data_hash, manifest.train_hash) == (pairs().hash, data.train.hash)
    assert manifest.name.startswith("tiny-tuned-")
    assert manifest.tokens > 0 < manifest.peak_memory_mib
    assert manifest.misfit(base="tiny", template_hash=template.hash, data_hash=pairs().hash) is None
    assert "belongs to the model 'tiny'" in (manifest.misfit(base="other") or "")
    assert "other weights" in (manifest.misfit(base_hash="0") or "")
    assert "rank@1" in (manifest.misfit(template_hash="0") or "")
    assert "other data" in (manifest.misfit(data_hash="0") or "")
    made = training_of(pairs(), manifest)
    assert made is not None
    assert made.train.hash == data.train.hash
    assert made.seen.interactions.height == data.train.interactions.height + data.later.interactions.height
    assert training_of(pairs(planted=True), manifest) is None


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_goes_on_where_it_was_stopped(data: Data, checkpoint: Path, tmp_path: Path, method: Any) -> None:
    out = tmp_path / "adapter"
    options = replace(OPTIONS, method=method, epochs=6)
    updates = 0

    def stopped() -> bool:
        nonlocal updates
        updates += 1
        return updates == 25

    with pytest.raises(KeyboardInterrupt):
        train(data, checkpoint, out, options, stopped=stopped)
    assert load_adapter(out, thorough=True).steps > 0, "what was best by then is there"
    with pytest.raises(DataError, match="other data, model, prompt or options"):
        train(data, checkpoint, out, replace(options, seed=1), resume=True)
    whole = train(data, checkpoint, tmp_path / "whole", options)
    resumed = train(data, checkpoint, out, options, resume=True)
    assert resumed.steps == whole.steps
    assert resumed.loss_after == pytest.approx(whole.loss_after, abs=1e-3)
    assert resumed.weights_sha256 == whole.weights_sha256


def test_there_must_be_something_to_go_on_from(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no state to go on from"):
        train(data, checkpoint, tmp_path / "adapter", resume=True)


def test_it_ends_when_it_gets_no_better(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    manifest = train(data, checkpoint, tmp_path / "adapter", replace(OPTIONS, epochs=60, patience=1))
    assert manifest.steps < 60 * 60 / 8 * 0.8


def test_minutes_bound_the_plan(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    steps = []
    train(
        data,
        checkpoint,
        tmp_path / "adapter",
        replace(OPTIONS, epochs=100, minutes=0.02),
        estimated=lambda estimate: steps.append((estimate.examples, estimate.steps)),
    )
    [(windows, planned)] = steps
    assert planned < 100 * windows / 8


def test_a_loss_that_is_no_number_keeps_the_last_good_state(
    data: Data, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Trainer._backward, 0

    def broken(self: Trainer, batch: Any) -> float:
        nonlocal calls
        calls += 1
        loss = real(self, batch)
        return float("nan") if calls == 30 else loss

    monkeypatch.setattr(Trainer, "_backward", broken)
    with pytest.raises(DataError, match="the loss is nan at step 28") as caught:
        train(data, checkpoint, tmp_path / "adapter")
    assert "a smaller one than" in str(caught.value)
    assert load_adapter(tmp_path / "adapter", thorough=True).steps > 0


def test_a_full_disk_keeps_the_last_good_state(
    data: Data, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Trainer.save, 0

    def full(self: Trainer) -> None:
        nonlocal calls
        calls += 1
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if calls == 3:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            real(self)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(Trainer, "save", full)
    with pytest.raises(DataError, match=r"--out.*cannot be written") as caught:
        train(data, checkpoint, tmp_path / "adapter")
    assert "--resume" in str(caught.value)
    assert load_adapter(tmp_path / "adapter", thorough=True).steps > 0
    monkeypatch.setattr(Trainer, "save", real)
    assert train(data, checkpoint, tmp_path / "adapter", resume=True).steps > 0


def test_too_little_data_is_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 500"):
        train(prepare(pairs(users=5), judged=False), checkpoint, tmp_path / "adapter")


def test_what_cannot_be_trained_is_told(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"llm\.model.*cannot be trained"):
        train(data, tmp_path / "nowhere", tmp_path / "adapter")
    config = json.loads((checkpoint / "config.json").read_text()) | {"model_type": "t5", "architectures": ["T5Model"]}
    (tmp_path / "seq2seq").mkdir()
    (tmp_path / "seq2seq" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"llm\.model.*cannot be trained"):
        train(data, tmp_path / "seq2seq", tmp_path / "adapter")


def test_a_chat_that_the_model_does_not_take_is_told(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    without = tmp_path / "without"
    shutil.copytree(checkpoint, without)
    (without / "chat_template.jinja").unlink()
    chat = PromptTemplate(CHAT, name="chat", version="1")
    with pytest.raises(InputError, match=r"--prompt.*chat template does not take chat@1"):
        tune(data, chat, tmp_path / "adapter", model=str(without), base="x", history_limit=30, options=OPTIONS)


def test_nothing_else_is_overwritten(data: Data, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"1")
    with pytest.raises(InputError, match="holds something else"):
        train(data, checkpoint, tmp_path / "photos")
    assert (tmp_path / "photos" / "1.jpg").is_file()


def test_a_damaged_adapter_is_found_out(adapter: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in adapter.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "adapter_model.safetensors").write_bytes(b"0" * (adapter / "adapter_model.safetensors").stat().st_size)
    load_adapter(copy)
    with pytest.raises(ArtifactError, match="is damaged"):
        load_adapter(copy, thorough=True)
    (copy / "adapter_config.json").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        load_adapter(copy)
