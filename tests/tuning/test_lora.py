"""Loading a model, and saving an adapter that gives what was trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval import InputError
from tests.tuning.conftest import random_llama
from tuning.lora import add_adapter, load_model, save_adapter


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_adapter_gives_the_trained_output(tmp_path: Path, dtype: str) -> None:
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    from tuning.losses import window_loss
    from tuning.prompt_writer import Window

    def base() -> Any:
        return random_llama(vocab_size=16, hidden_size=32, context=32, dtype=getattr(torch, dtype))

    window = Window((1, 2, 3, 4), (0.0, 1.0, 1.0, 1.0), 1.0)
    model = add_adapter(base(), rank=4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
        trained = float(window_loss(model, [window]))
        save_adapter(model, tmp_path, base="tiny")
        served = float(window_loss(PeftModel.from_pretrained(base(), tmp_path), [window]))
        untrained = float(window_loss(add_adapter(base(), rank=4), [window]))
    assert served == pytest.approx(trained, abs=1e-5)
    assert served != pytest.approx(untrained, abs=1e-2)
    assert {str(tensor.dtype) for tensor in load_file(tmp_path / "adapter_model.safetensors").values()} == {
        f"torch.{dtype}"
    }
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert not (tmp_path / "README.md").exists()


def test_context_is_the_model_s(checkpoint: Path) -> None:
    _, _, context = load_model(str(checkpoint))
    assert context == 512


def test_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"llm\.model.*cannot be trained"):
        load_model(str(tmp_path / "nowhere"))


def test_model_that_is_not_causal_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text()) | {"model_type": "t5", "architectures": ["T5Model"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"llm\.model.*cannot be trained"):
        load_model(str(tmp_path))
