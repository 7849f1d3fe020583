"""State of the running service: settings, the current recommender, metrics.

A new artifact, or new fusion weights for it, is loaded while the old one serves, and replaces it between requests: a
request keeps the recommender it started with. If loading fails, the old one stays in use; readiness, log and metrics
report the failure.
"""

import asyncio
import contextlib
import time
from dataclasses import replace

import structlog

from api.http.admission import Admission
from api.http.blind_pairs import OpenPairs
from api.http.comparisons import Comparisons
from api.http.connections import Connections, most_connections
from api.http.feedback import Feedback
from api.http.keys import KeyRing
from api.http.metrics import Metrics
from api.http.prompt_use import PromptUse
from api.http.recent import Recent
from api.http.watching import Watching
from api.observability import places
from api.settings.model import Settings
from prompts import PromptLibrary, Stamp, TemplateError, file_stamp
from reranker import (
    FUSION_FILE,
    TASKS,
    Answer,
    DocumentRanker,
    Engine,
    FusionFit,
    LLMError,
    Memory,
    ModelInfo,
    PromptChoice,
    Recommender,
    load_fit,
)
from retrieval import (
    Artifact,
    Retriever,
    StoredItem,
    StoreError,
    WhyrankError,
    current_build,
    extend_artifact,
    load,
    open_embedder,
)

_OWN_FILES = 128
"""File descriptors for artifacts, prompts, the log and connections being accepted."""
FAMILIES = ("rank", "rank-wish", "reason", "rerank")
"""Template families that requests use by default."""
_RETRY_S = 30.0
_RETAIN_S = 3600.0
_EXTENDING = 10.0
"""Retry interval for an artifact that failed to load and has not changed since; interval of retention; and how many
times as long as taking up changed items takes, the service waits until it takes up the next.
"""

log = structlog.get_logger()


class Service:
    """The state behind the routes.

    Raises:
        ArtifactError: If no artifact can be loaded.
    """

    def __init__(self, settings: Settings, engine: Engine | None) -> None:
        self.settings = settings
        self.engine = engine
        self.library = PromptLibrary(settings.prompts_dir)
        self._prompts: tuple[Stamp | None, ...] = ()
        """State of the library when its default templates were last parsed."""
        self.documents = DocumentRanker(engine, self.library) if engine else None
        self.metrics = Metrics()
        self.admission = Admission(settings.max_in_flight, self.metrics)
        reserved = settings.llm.max_in_flight + _OWN_FILES
        self.connections = Connections(most_connections(settings.max_connections, reserved), self.metrics)
        self._memory = Memory(settings.llm.memory)
        self._prepared: str | None = None
        """Hash of the rank prompt that was measured last."""
        self.draining = False
        """Whether the service is shutting down."""
        self.watching = Watching(lambda watcher: self.metrics.watch_errors.labels(watcher).inc())
        """Problems of the background tasks."""
        store = settings.store.open(settings.artifact)
        self.recent = Recent()
        self.pairs = OpenPairs()
        self.comparisons = Comparisons(settings.runs, llm_is_local=settings.llm.url is None)
        self.prompt_use = PromptUse(self.comparisons)
        self.feedback = Feedback(store, self.watching, lambda: self.recommender.retriever.manifest.store)
        self.keys = KeyRing(store, settings.artifact, self.watching)
        self._retained = -_RETAIN_S
        """When retention last ran."""
        self._failed = False
        """Whether loading the newest artifact failed."""
        self._embedder = open_embedder(settings.embeddings)
        self.build, self._weights = self._newest()
        """The newest build seen."""
        self._tried = time.monotonic()
        self._artifact: Artifact | None = None
        """The build without the store's items; referenced, since it keeps its files."""
        self._added: list[StoredItem] = []
        """Items of the store that the recommender knows in addition to the build."""
        self._added_revision, self._add_at = -1, 0.0
        """Revision of the store's items when they were last looked at, and when they may be again."""
        self.recommender = self._load()
        self._note_artifact()
        if engine is not None:
            self.metrics.watch(engine, self._memory)

    async def watch(self) -> None:
        """Load new artifacts until cancelled."""
        while True:
            await asyncio.sleep(self.settings.reload_s)
            with self.watching.round("artifact"):
                await self.refresh()
            with self.watching.round("items"):
                await self._take_up_items()
            with self.watching.round("prompt"):
                await self._prepare()
            with self.watching.round("keys"):
                await self._look_at_keys()
            with self.watching.round("retention"):
                await self._retain()

    async def _look_at_keys(self) -> None:
        """Take up new, changed and revoked API keys. While the store fails, the known ones stay."""
        if self.feedback.on:
            with contextlib.suppress(StoreError):  # reported by the store's own watcher
                await self.feedback.call(self.keys.look)

    async def _retain(self) -> None:
        """Delete events and answers past their retention, once an hour."""
        days = self.settings.store.retention_days
        if days is None or not self.feedback.on or time.monotonic() < self._retained + _RETAIN_S:
            return
        self._retained = time.monotonic()
        try:
            erased = await self.feedback.call(lambda store: store.erase_before(int(time.time()) - days * 86_400))
        except StoreError:  # reported by the store's own watcher; tried again in an hour
            return
        log.info("retention", events=erased[0], recommendations=erased[1])

    async def refresh(self) -> None:
        """Load a new artifact if there is one. Check that the files of the current one are unchanged."""
        seen = await asyncio.to_thread(self._newest)
        again = self._failed and time.monotonic() - self._tried > _RETRY_S
        if seen != (self.build, self._weights) or again:
            (self.build, self._weights), self._tried = seen, time.monotonic()
            await self._take_up()
        changed = await asyncio.to_thread(self.recommender.retriever.changed_files)
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        problem = f"files of the artifact have changed on disk; the loaded version goes on serving: {shown}"
        if self.watching.tell("artifact files", f"{problem}. Run 'whyrank fit' again" if changed else None) and changed:
            log.error("artifact_overwritten", files=changed)

    async def _take_up_items(self) -> None:
        """Make new and changed items findable. Costs as little of the time as :data:`_EXTENDING` says."""
        revision, began = self.feedback.revision, time.monotonic()
        if self._artifact is None or revision == self._added_revision or began < self._add_at:
            return
        if self._titled() != self._added:
            self.recommender = await asyncio.to_thread(self._over, self._artifact)
        self._added_revision, now = revision, time.monotonic()
        self._add_at = now + (now - began) * _EXTENDING

    def _titled(self) -> list[StoredItem]:
        """Items of the store as they are added to a build; whether one is withdrawn is asked at each request."""
        return [replace(item, withdrawn=False) for item in self.feedback.items() if item.title is not None]

    async def _take_up(self) -> None:
        try:
            self.recommender = await asyncio.to_thread(self._load)
        except Exception as error:  # the old artifact keeps serving
            self._failed = True
            problem = str(error) if isinstance(error, WhyrankError) else type(error).__name__
            self.metrics.reloads.labels("failed").inc()
            if self.watching.tell("artifact", f"an older artifact is in use: {problem}"):
                log.error("artifact_not_loaded", build=self.build, problem=problem, places=places(error))
            return
        self._failed = False
        self.watching.tell("artifact", None)
        self.metrics.reloads.labels("loaded").inc()
        self._note_artifact()
        log.info("artifact_loaded", build=self.build)

    async def _prepare(self) -> None:
        """Measure whether the model can be read with the production rank prompt, before a request has to."""
        try:
            template = await asyncio.to_thread(self.library.get, "rank")
            if self.engine is None or template.meta.scoring == "likelihood" or template.hash == self._prepared:
                return
            report = await self.recommender.prepare(template)
        except WhyrankError:  # no LLM yet, or a broken library: reported elsewhere and retried
            return
        self._prepared = template.hash
        log.info("model_read", **report.model_dump())

    def problems(self) -> list[str]:
        """List problems that need attention although the service answers. Reads files."""
        found: list[str] = []
        with self.watching.round("prompts"):
            found = self.library.problems()
        return [*self.watching.problems(), *found]

    async def load_prompts(self, choice: PromptChoice) -> None:
        """Parse new templates that a request needs, in a thread so that the event loop is not blocked. Errors are
        reported where the templates are used.
        """
        named = [reference for task in TASKS if (reference := choice.reference(task)) is not None]
        state = self.library.state()
        if not named and state == self._prompts:
            return

        def load() -> None:
            for reference in named:
                with contextlib.suppress(TemplateError):
                    self.library.get(reference)
            if state != self._prompts:
                for family in FAMILIES:
                    with contextlib.suppress(TemplateError):
                        self.library.find(family, "en")

        await asyncio.to_thread(load)
        self._prompts = state

    def _newest(self) -> tuple[str | None, Stamp | None]:
        """Return the current build, None if it cannot be determined, and the stamp of the fusion weights."""
        try:
            name = current_build(self.settings.artifact)
        except WhyrankError:
            name = None  # loading reports the error
        return name, file_stamp(self.settings.artifact / FUSION_FILE)

    def _load(self) -> Recommender:
        artifact = load(self.settings.artifact)
        recommender = self._over(artifact)
        self._artifact = artifact
        return recommender

    def _over(self, artifact: Artifact) -> Recommender:
        """Create a recommender over a build and the store's items."""
        added = self._titled()
        retriever = Retriever(extend_artifact(artifact, added, self._embedder), self._embedder)
        fit = load_fit(self.settings.artifact)
        recommender = self.recommender_of(retriever, self.library, fit)
        recommender.wishes.warm_up()
        self._added, self.prompt_use.fit = added, fit
        return recommender

    async def served_model(self, seconds: float) -> ModelInfo | None:
        """Describe the LLM; None without one, or if it does not answer in time."""
        if self.engine is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                return await self.engine.info()
        except (LLMError, TimeoutError):
            return None

    def answered(self, answer: Answer) -> None:
        """Count one recommendation, for metrics and for people."""
        self.metrics.answered(answer)
        self.recent.answered(answer)
        self.prompt_use.answered(answer)

    def recommender_of(self, retriever: Retriever, library: PromptLibrary, fit: FusionFit | None) -> Recommender:
        """Create a recommender that uses the service's LLM."""
        return Recommender(retriever, self.engine, library, self.settings.llm, self._memory, fit)

    def _note_artifact(self) -> None:
        self.metrics.artifact_created.set(self.recommender.retriever.manifest.created.timestamp())
