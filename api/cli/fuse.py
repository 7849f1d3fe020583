"""``whyrank fuse``: fit the weight of the LLM."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import typer

from api.cli.data import FittedData, fitted_data
from api.cli.eval import progress, tuned_on
from api.cli.output import console, error_console, status, tell_note
from api.settings.model import Settings, load_settings
from eval import (
    AnswerStore,
    ProgressCallback,
    Reads,
    WishCase,
    fit_fusion_weights,
    fit_new_item_weights,
    fit_wish_weights,
    read_wishes,
)
from prompts import PromptLibrary, PromptTemplate
from reranker import (
    Engine,
    EngineSettings,
    FusionFit,
    Gain,
    Memory,
    NewItemFit,
    Recommender,
    WishFit,
    choose_adapter,
    find_or_start_server,
    load_fit,
    save_fit,
    wish_template,
)
from retrieval import Artifact, ArtifactError, Dataset, InputError, Retriever, open_embedder


def fuse(
    prompt: Annotated[str, typer.Option(help="Rank template that the service will use.")] = "rank",
    users: Annotated[int | None, typer.Option(min=30, help="Number of users to sample; all by default.")] = None,
    candidates: Annotated[int, typer.Option(min=2, max=200, help="Number of candidates the LLM scores.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the sample and the folds.")] = 0,
    wishes: Annotated[
        Path | None,
        typer.Option(help="Also fit weights for requests with a wish, on the wishes of this file."),
    ] = None,
    new_items: Annotated[
        bool,
        typer.Option(
            "--new-items", help="Also measure the LLM among new items, as is done where the catalog has some already."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the weights and keep those in use.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for model answers.")] = Path("runs"),
) -> None:
    """Fit the weight of the LLM's scores on the latest interactions.

    If the LLM does not improve held-out users, its weight is 0 and the service does not ask it. Weights for another
    prompt than the production one are printed and not stored, since the service could not use them.
    """
    settings = load_settings()
    data = fitted_data(settings, need_artifact=True)
    library = PromptLibrary(settings.prompts_dir)
    template = rank_template(library, prompt)
    wished = None if wishes is None else read_wishes(wishes)
    error_console().print(f"fitted on {data.origin}", markup=False)
    out.mkdir(parents=True, exist_ok=True)
    with status("looking for the LLM") as report, find_or_start_server(settings.llm, report=report) as engine:
        fitted = asyncio.run(
            _fit(settings, engine, data, library, template, out, users, candidates, seed, wished, new_items)
        )
    in_use = library.find("rank", template.meta.locale)
    stored = not dry_run and template.hash == in_use.hash
    file = save_fit(settings.artifact, fitted) if stored else None
    say = console().print
    say(
        f"{fitted.template} on {fitted.model}, {fitted.users} users: NDCG@10 {fitted.ndcg_fused:.4f} with the LLM, "
        f"{fitted.ndcg_twin:.4f} without; gain {fitted.gain:+.4f}, 80 % interval {fitted.gain_low:+.4f} to "
        f"{fitted.gain_high:+.4f}",
        markup=False,
    )
    verdict = (
        "The LLM helps"
        if fitted.llm_helps
        else "The LLM may help, so the service asks it while it has room"
        if fitted.llm_may_help
        else "The LLM does not help, so the service will not ask it"
    )
    say(f"{verdict}; {f'weights: {file}' if file else 'nothing was stored'}", markup=False)
    for feature, weight in fitted.in_use.items():
        say(f"  {feature:<22} {weight:+.3f}", markup=False)
    for part, gain in fitted.slices.items():
        say(f"  {part.replace('_', ' ')}: {_told(gain, 'users')}", markup=False)
    if fitted.new_items is not None:
        say(f"  new items: {_told(fitted.new_items.gain, 'users')}", markup=False)
    if fitted.wish is not None:
        say(f"  {fitted.wish.template} on {fitted.wish.model}: {_told(fitted.wish.gain, 'wishes')}", markup=False)
    if file is None and not dry_run:
        tell_note(
            f"the service ranks with {in_use.reference}, so its weights stay. Promote {fitted.template} and run "
            "'whyrank fuse' again: the answers are kept, and it takes seconds"
        )


def _told(gain: Gain, of: str) -> str:
    asked = "asked" if gain.low > 0 else "asked while there is room" if gain.mean > 0 else "not asked"
    return f"{gain.users} {of}, gain {gain.mean:+.4f}, 80 % interval {gain.low:+.4f} to {gain.high:+.4f}; {asked}"


def rank_template(library: PromptLibrary, prompt: str) -> PromptTemplate:
    """Return a rank template of the library.

    Raises:
        InputError: If it is for another task.
    """
    template = library.get(prompt)
    if template.meta.task != "rank":
        raise InputError(f"{template.reference} ranks nothing", field="--prompt", code="wrong_task")
    return template


async def _fit(
    settings: Settings,
    engine: EngineSettings,
    data: FittedData,
    library: PromptLibrary,
    template: PromptTemplate,
    out: Path,
    users: int | None,
    candidates: int,
    seed: int,
    wishes: Sequence[WishCase] | None,
    new_items: bool,
) -> FusionFit:
    assert data.artifact is not None  # noqa: S101  # it was asked for
    with ExitStack() as stack:
        store = AnswerStore(out / "answers.sqlite")
        stack.callback(store.close)
        tell = stack.enter_context(progress())
        memory = Memory(settings.llm.memory)
        stack.callback(memory.close)
        limit, tuned = settings.llm.history_limit, tuned_on(settings, data.dataset)
        async with Reads(engine, store, history_limit=limit, memory=memory, tuned=tuned) as reads:
            if template.meta.scoring != "likelihood":
                await _refuse_positions(settings, engine, data.artifact, library, template, memory)
            fitted = await fit_fusion_weights(
                data.dataset,
                template,
                reads,
                out / "artifacts",
                parameters=data.parameters,
                candidates=candidates,
                users=users,
                model=_model(settings, template, data.dataset),
                seed=seed,
                report=tell,
            )
            if new_items or data.artifact.models.content is not None:
                own = await _new_items(data, template, reads, settings, seed, tell)
                fitted = fitted.model_copy(update={"new_items": own})
            if wishes is None:
                return fitted.model_copy(update={"wish": _kept(settings, fitted)})
            showing = wish_template(library, template.meta.locale)
            wish = await fit_wish_weights(
                Retriever(data.artifact, open_embedder(settings.embeddings)),
                data.dataset,
                wishes,
                showing,
                reads,
                candidates=candidates,
                model=_model(settings, showing, data.dataset),
                seed=seed,
                report=tell,
            )
            return fitted.model_copy(update={"wish": wish})


async def _new_items(
    data: FittedData, template: PromptTemplate, reads: Reads, settings: Settings, seed: int, tell: ProgressCallback
) -> NewItemFit | None:
    """Fit weights among new items; None if the data are too few."""
    try:
        return await fit_new_item_weights(
            data.dataset,
            template,
            reads,
            parameters=data.parameters,
            embedder=open_embedder(settings.embeddings),
            seed=seed,
            report=tell,
        )
    except InputError as error:
        tell_note(f"the LLM's gain on new items was not measured: {error.message}")
        return None


def _kept(settings: Settings, fitted: FusionFit) -> WishFit | None:
    """Return the stored weights for wishes if they were fitted on the same data."""
    before = None
    with suppress(ArtifactError):  # a damaged file is replaced
        before = load_fit(settings.artifact)
    return before.wish if before is not None and before.data_hash == fitted.data_hash else None


def _model(settings: Settings, template: PromptTemplate, dataset: Dataset) -> str | None:
    """Return the adapter that the service reads this prompt with; None for the base model."""
    choice = choose_adapter(settings.llm, template_hash=template.hash, data_hash=dataset.hash)
    if choice.configured is not None and choice.reason is not None and choice.requested:
        note = f"note: the adapter {choice.configured.name} is not used: {choice.reason}"
        error_console().print(note, markup=False, style="yellow")
    return None if choice.adapter is None else choice.adapter.name


async def _refuse_positions(
    settings: Settings,
    engine_settings: EngineSettings,
    artifact: Artifact,
    library: PromptLibrary,
    template: PromptTemplate,
    memory: Memory,
) -> None:
    """Refuse a label template if the model answers with positions: the service would not use the weights."""
    async with Engine(engine_settings) as engine:
        recommender = Recommender(Retriever(artifact), engine, library, settings.llm, memory)
        report = await recommender.prepare(template)
    if not report.accepted:
        raise InputError(
            f"{template.reference} is not read from {report.model}: {report.reason}",
            field="--prompt",
            remedy="Fit for a prompt of the family 'rank', which is read by likelihood",
            code="label_read_refused",
        )
