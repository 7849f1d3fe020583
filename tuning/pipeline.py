"""From a data set to an adapter: what is held out, the model, the training, and the record of it."""

import math
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts import PromptTemplate
from reranker import ADAPTER_FILE, ADAPTER_WEIGHTS, AdapterManifest, base_fingerprint, embedded, load_adapter
from retrieval import DataError, InputError
from tuning.data import Data
from tuning.examples import make_examples
from tuning.options import Options
from tuning.windows import Writer

if TYPE_CHECKING:
    from tuning.training import Progress

_RATES = {"lora": 2e-3, "full": 2e-4}
_EPOCH = datetime.fromtimestamp(0, UTC)
_NOTHING_YET: dict[str, Any] = {
    "weights_sha256": "",
    "steps": 0,
    "tokens": 0,
    "tokens_per_s": 0.0,
    "peak_memory_mib": 0,
    "loss_before": 0.0,
    "loss_after": 0.0,
}


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Args:
        examples: of one epoch; ``steps`` are the updates in all.
        seconds: of all updates, by the time of one that was tried; validations come on top.
        memory_mib: the highest use so far, after that update.
    """

    examples: int
    steps: int
    seconds: float
    memory_mib: int


Told = Callable[["Progress", int, float], None]
"""Told after each update: how far it has come, of how many, and the training loss in nats per token."""


def tune(
    data: Data,
    template: PromptTemplate,
    out: Path,
    *,
    model: str,
    base: str,
    history_limit: int,
    options: Options,
    resume: bool = False,
    estimated: Callable[[Estimate], None] = lambda _: None,
    told: Told = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> AdapterManifest:
    """Trains a model, and leaves the adapter that was best on validation in ``out``, whole or not at all. Whatever ends
    the training, what was best by then is left there; beside it lies the state from which it can go on.

    Args:
        model: a checkpoint's folder, or its name on the hub.
        base: the name that it is served under.
        history_limit: the most history entries that a prompt shows when it serves.
        resume: go on from the state.
        stopped: asked after each update whether to end, with a state to go on from.

    Raises:
        InputError: the template or the model cannot be trained so, or ``out`` holds something else.
        DataError: there is too little data, a loss is no number, nothing got better, or the disk is full.
    """
    import torch
    from jinja2 import TemplateError as JinjaError
    from safetensors import SafetensorError

    from tuning.adapting import Adapted, load_model
    from tuning.training import Plan, Progress, Trainer

    out = out.resolve()
    work = _work(out)
    best = work / "best"
    torch.manual_seed(options.seed)
    tokenizer, network, context = load_model(model)
    try:
        writer = Writer(template, tokenizer, data.train.noun, context=context)
        examples = make_examples(data, writer, options, history_limit)
    except (ValueError, JinjaError) as error:
        raise InputError(
            f"the model's chat template does not take {template.reference}: {error}",
            field="--prompt",
            remedy="Choose a prompt with 'format: text', such as rank",
            code="not_trainable",
        ) from error
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    adapted = Adapted(network, options.method, options.rank)
    rate = options.learning_rate or _RATES[options.method]
    record = AdapterManifest(
        base=base,
        base_hash=base_fingerprint(model),
        template=template.reference,
        template_hash=template.hash,
        data_hash=data.whole,
        train_hash=data.train.hash,
        held_out=data.held_out,
        method=options.method,
        rank=options.rank,
        settings={**{name: one for name, one in asdict(options).items() if one is not None}, "learning_rate": rate},
        created=datetime.now(UTC),
        **_NOTHING_YET,
    )

    def keep(progress: Progress) -> None:
        scratch = work / "writing"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        adapted.save(scratch, base)
        whole = record.model_copy(
            update={
                "weights_sha256": embedded.sha256(scratch / ADAPTER_WEIGHTS),
                "steps": progress.step,
                "tokens": progress.tokens,
                "tokens_per_s": round(progress.tokens / progress.seconds, 1),
                "peak_memory_mib": peak_memory_mib(),
                "loss_before": round(progress.losses[0][1], 4),
                "loss_after": round(progress.best, 4),
            }
        )
        (scratch / ADAPTER_FILE).write_text(whole.model_dump_json(indent=2) + "\n")
        shutil.rmtree(best, ignore_errors=True)
        scratch.rename(best)

    plan = Plan(
        steps=max(math.ceil(examples.count * options.epochs / options.batch), 1),
        batch=options.batch,
        learning_rate=rate,
        patience=options.patience,
        seed=options.seed,
    )
    shown = f"{history_limit} {data.train.noun}"
    trainer = Trainer(
        adapted.model,
        examples.epoch,
        examples.validation,
        plan,
        state=work / "state",
        keep=keep,
        identity=record.model_copy(update={"created": _EPOCH}).model_dump_json() + shown,
        as_served=adapted.served,
    )
    if resume:
        trainer.resume()
    try:
        took = trainer.trial()
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"'{model}' does not fit this GPU's memory in training",
            field="llm.model",
            remedy="Use --method lora, or a smaller model",
            code="out_of_memory",
        ) from error
    if options.minutes is not None:
        trainer.shorten(int(options.minutes * 60 / took))
    estimated(Estimate(examples.count, trainer.steps, trainer.steps * took, peak_memory_mib()))
    try:
        trainer.run(lambda loss: told(trainer.progress, trainer.steps, loss), stopped)
    except (OSError, SafetensorError) as error:  # its own error where a tensor file cannot be written
        raise DataError(
            f"the training's state cannot be written ({error})",
            field="--out",
            remedy="Free some disk space, then go on with --resume",
            code="disk_full",
        ) from error
    finally:
        if best.is_dir():
            _publish(best, out)
    if not trainer.progress.best_step:
        first, last = (loss for _, loss in (trainer.progress.losses[0], trainer.progress.losses[-1]))
        raise DataError(
            f"training made nothing better: {first:.3f} nats per held-out title before, {last:.3f} after",
            field="--learning-rate",
            remedy="Try a smaller one, or more data; the LLM serves as it is",
            code="nothing_gained",
        )
    shutil.rmtree(work)
    return load_adapter(out)


def peak_memory_mib() -> int:
    """The highest memory use of this process so far: of the GPU where it uses one, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (2**20 if sys.platform == "darwin" else 2**10))


def _work(out: Path) -> Path:
    """Where the state is kept.

    Raises:
        InputError: ``out`` holds something else than an adapter, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / ADAPTER_FILE).is_file())):
        raise InputError(f"{out} holds something else", field="--out", remedy="Name another folder", code="not_empty")
    work = out.with_name(f".{out.name}-training")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{work} cannot be written ({error})", field="--out", code="not_writable") from error
    return work


def _publish(best: Path, out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)
    best.rename(out)
