"""Train an adapter from a data set, and record what it was trained on."""

import math
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prompts import PromptTemplate
from reranker import (
    ADAPTER_FILE,
    ADAPTER_WEIGHTS,
    AdapterManifest,
    base_fingerprint,
    embedded,
    load_adapter,
)
from retrieval import DataError, InputError
from tuning.options import TuningOptions
from tuning.progress import TrainingPlan, TrainingProgress
from tuning.prompt_writer import PromptWriter
from tuning.training_data import TrainingData
from tuning.training_examples import make_examples

_EPOCH = datetime.fromtimestamp(0, UTC)
_UNTRAINED: dict[str, Any] = {
    "weights_sha256": "",
    "steps": 0,
    "tokens": 0,
    "tokens_per_s": 0.0,
    "peak_memory_mib": 0,
    "loss_before": 0.0,
    "loss_after": 0.0,
}


@dataclass(frozen=True)
class TrainingEstimate:
    """Expected cost of a training, from the time of one trial update.

    Args:
        examples: examples per epoch.
        steps: planned updates.
        seconds: time of all updates, without validation.
        memory_mib: peak memory use so far.
    """

    examples: int
    steps: int
    seconds: float
    memory_mib: int


def tune(
    data: TrainingData,
    template: PromptTemplate,
    out: Path,
    *,
    model: str,
    base: str,
    history_limit: int,
    options: TuningOptions,
    resume: bool = False,
    on_estimate: Callable[[TrainingEstimate], None] = lambda _: None,
    on_update: Callable[[TrainingProgress], None] = lambda _: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> AdapterManifest:
    """Train an adapter and leave the one with the best validation loss in ``out``.

    ``out`` is replaced as a whole or not at all, also when training is interrupted or fails. The checkpoints are
    kept next to it until training is complete.

    Args:
        model: a checkpoint's folder, or its name on the hub.
        base: the name that the model is served under.
        history_limit: maximum number of history entries in a served prompt.
        resume: continue from the last checkpoint.
        on_estimate: called once before training.
        on_update: called after each update.
        stop_requested: asked after each update whether to stop with a checkpoint.

    Raises:
        InputError: If the template or the model cannot be trained, or ``out`` is not an adapter's folder.
        DataError: If there is too little data, the loss is not finite, nothing improved, or the disk is full.
        KeyboardInterrupt: If ``stop_requested`` returns true.
    """
    import torch
    from jinja2 import TemplateError as JinjaError
    from safetensors import SafetensorError

    from tuning.lora import add_adapter, load_model, save_adapter
    from tuning.training import saved_steps, seconds_per_update, train

    out = out.resolve()
    work = _work_folder(out)
    best, checkpoints = work / "best", work / "checkpoints"
    torch.manual_seed(options.seed)
    tokenizer, network, context = load_model(model)
    try:
        writer = PromptWriter(template, tokenizer, data.train.noun, context=context)
        examples = make_examples(data, writer, options, history_limit)
    except (ValueError, JinjaError) as error:
        raise InputError(
            f"the model's chat template does not accept {template.reference}: {error}",
            field="--prompt",
            remedy="Choose a prompt with 'format: text', such as rank",
            code="not_trainable",
        ) from error
    network = add_adapter(network, options.rank)
    record = AdapterManifest(
        base=base,
        base_hash=base_fingerprint(model),
        template=template.reference,
        template_hash=template.hash,
        data_hash=data.data_hash,
        train_hash=data.train.hash,
        held_out=data.held_out,
        method="lora",
        rank=options.rank,
        settings={name: value for name, value in asdict(options).items() if value is not None},
        created=datetime.now(UTC),
        **_UNTRAINED,
    )
    identity = record.model_copy(update={"created": _EPOCH}).model_dump_json() + f"{history_limit} {data.train.noun}"

    def keep(progress: TrainingProgress) -> None:
        scratch = work / "writing"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        save_adapter(network, scratch, base=base)
        manifest = record.model_copy(
            update={
                "weights_sha256": embedded.sha256(scratch / ADAPTER_WEIGHTS),
                "steps": progress.step,
                "tokens": progress.tokens,
                "tokens_per_s": round(progress.tokens / progress.seconds, 1),
                "peak_memory_mib": peak_memory_mib(),
                "loss_before": round(progress.loss_before, 4),
                "loss_after": round(progress.validation_loss, 4),
            }
        )
        (scratch / ADAPTER_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        shutil.rmtree(best, ignore_errors=True)
        scratch.rename(best)

    steps = max(math.ceil(examples.count * options.epochs / options.batch), 1)
    if resume:
        steps = saved_steps(checkpoints, identity)
    else:
        shutil.rmtree(work, ignore_errors=True)
        checkpoints.mkdir(parents=True)
    plan = TrainingPlan(steps, options.batch, options.learning_rate, options.patience, options.seed, identity)
    try:
        seconds = seconds_per_update(network, examples.epoch, plan)
        if options.minutes is not None and not resume:
            plan = replace(plan, steps=max(min(steps, int(options.minutes * 60 / seconds)), 1))
        on_estimate(TrainingEstimate(examples.count, plan.steps, plan.steps * seconds, peak_memory_mib()))
        result = train(
            network,
            examples.epoch,
            examples.validation,
            plan,
            checkpoints=checkpoints,
            keep=keep,
            resume=resume,
            on_update=on_update,
            stop_requested=stop_requested,
        )
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"'{model}' does not fit into this GPU's memory for training",
            field="llm.model",
            remedy="Choose a smaller model, or a smaller llm.history_limit",
            code="out_of_memory",
        ) from error
    except (OSError, SafetensorError) as error:  # SafetensorError if an adapter's weights cannot be written
        raise DataError(
            f"the adapter cannot be written ({error})",
            field="--out",
            remedy="Free some disk space, then continue with --resume",
            code="disk_full",
        ) from error
    finally:
        if best.is_dir():
            _publish(best, out)
    if not result.best_step:
        raise DataError(
            f"training did not improve the model: {result.loss_before:.3f} nats per held-out title before, "
            f"{result.last_loss:.3f} after",
            field="--learning-rate",
            remedy="Try a smaller value or more data, or use the LLM without training",
            code="nothing_gained",
        )
    shutil.rmtree(work)
    return load_adapter(out)


def peak_memory_mib() -> int:
    """Peak memory use of this process in MiB: GPU memory if it uses a GPU, else main memory."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _work_folder(out: Path) -> Path:
    """Create the folder for checkpoints next to ``out``.

    Raises:
        InputError: If ``out`` exists and is not an adapter's folder, or the folder cannot be created.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / ADAPTER_FILE).is_file())):
        raise InputError(
            f"{out} is not an adapter's folder", field="--out", remedy="Name another folder", code="not_empty"
        )
    work = out.with_name(f".{out.name}-training")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{work} cannot be created ({error})",
            field="--out",
            remedy="Name a folder that you may write to",
            code="not_writable",
        ) from error
    return work


def _publish(best: Path, out: Path) -> None:
    """Replace ``out`` by the best adapter."""
    if out.exists():
        shutil.rmtree(out)
    best.rename(out)
