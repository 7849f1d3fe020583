"""What the running service holds: settings, the recommender in use, metrics.

A new artifact, or new fusion weights beside it, is loaded while the old one serves, and takes its place between
requests: a request keeps the recommender that it began with. One that cannot be loaded changes nothing but what
readiness, log and metrics say.
"""

import asyncio
import contextlib
import time

import structlog

from api.http.admission import Admission
from api.http.connections import Connections, most_connections
from api.http.metrics import Metrics
from api.http.watching import Watching
from api.observability import places
from api.settings.model import Settings
from prompts import PromptLibrary, Stamp, TemplateError, file_stamp
from reranker import FUSION_FILE, TASKS, DocumentRanker, Engine, FusionFit, Memory, PromptChoice, Recommender, load_fit
from retrieval import Retriever, WhyrankError, current_build, load

_OWN_FILES = 128
"""Descriptors for artifacts, prompts, the log and what is being accepted."""
FAMILIES = ("rank", "reason", "rerank")
"""Families of templates that requests use without naming them."""
_RETRY_S = 30.0
"""Until an artifact that could not be loaded is tried again although nothing seems to have changed."""

log = structlog.get_logger()


class Service:
    """The state behind the routes.

    Raises:
        ArtifactError: there is no artifact that can be loaded.
    """

    def __init__(self, settings: Settings, engine: Engine | None) -> None:
        self.settings = settings
        self.engine = engine
        self.library = PromptLibrary(settings.prompts_dir)
        self._prompts: tuple[Stamp | None, ...] = ()
        """State of the library of which everything that serves has been parsed."""
        self.documents = DocumentRanker(engine, self.library) if engine else None
        self.metrics = Metrics()
        self.admission = Admission(settings.max_in_flight, self.metrics)
        reserved = settings.llm.max_in_flight + _OWN_FILES
        self.connections = Connections(most_connections(settings.max_connections, reserved), self.metrics)
        self._memory = Memory(settings.llm.memory)
        self._prepared: str | None = None
        """Hash of the rank prompt for which that was measured."""
        self.draining = False
        """Set when the service has been told to end."""
        self.watching = Watching(lambda watcher: self.metrics.watch_errors.labels(watcher).inc())
        """What the background watchers could not do."""
        self._failed = False
        """Whether the newest artifact could not be loaded."""
        self.build, self._weights = self._newest()
        """The newest build that was looked at."""
        self._tried = time.monotonic()
        self.recommender = self._load()
        self._note_artifact()
        if engine is not None:
            self.metrics.watch(engine, self._memory)

    async def watch(self) -> None:
        """Takes up new artifacts until it is cancelled."""
        while True:
            await asyncio.sleep(self.settings.reload_s)
            with self.watching.round("artifact"):
                await self.refresh()
            with self.watching.round("prompt"):
                await self._prepare()

    async def refresh(self) -> None:
        """Takes up a new artifact if there is one, and looks whether the one in use is still what is on disk."""
        seen = await asyncio.to_thread(self._newest)
        again = self._failed and time.monotonic() - self._tried > _RETRY_S
        if seen != (self.build, self._weights) or again:
            (self.build, self._weights), self._tried = seen, time.monotonic()
            await self._take_up()
        changed = await asyncio.to_thread(self.recommender.retriever.changed_files)
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        problem = f"files of the artifact are no longer what was loaded, which goes on serving: {shown}"
        if self.watching.tell("artifact files", f"{problem}. Run 'whyrank fit' again" if changed else None) and changed:
            log.error("artifact_overwritten", files=changed)

    async def _take_up(self) -> None:
        try:
            self.recommender = await asyncio.to_thread(self._load)
        except Exception as error:  # whatever is wrong with the new one, the old one answers
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
        """Has it measured whether the model can be read with the rank prompt in production, before a request must."""
        try:
            template = await asyncio.to_thread(self.library.get, "rank")
            if self.engine is None or template.meta.scoring == "likelihood" or template.hash == self._prepared:
                return
            report = await self.recommender.prepare(template)
        except WhyrankError:  # no LLM yet, or a broken library: told elsewhere, and tried again
            return
        self._prepared = template.hash
        log.info("model_read", **report.model_dump())

    def problems(self) -> list[str]:
        """What somebody should look at although the service answers. Reads files."""
        found: list[str] = []
        with self.watching.round("prompts"):
            found = self.library.problems()
        return [*self.watching.problems(), *found]

    async def load_prompts(self, choice: PromptChoice) -> None:
        """Parses what is new among the templates of a request, in a thread: it may take a while, and others wait for
        the loop. What is wrong with them is told where they are used.
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
        """The build to use, None where none can be told, and the state of the file of fusion weights."""
        try:
            name = current_build(self.settings.artifact)
        except WhyrankError:
            name = None  # loading says what is wrong
        return name, file_stamp(self.settings.artifact / FUSION_FILE)

    def _load(self) -> Recommender:
        artifact = self.settings.artifact
        return self.recommender_of(Retriever(load(artifact)), self.library, load_fit(artifact))

    def recommender_of(self, retriever: Retriever, library: PromptLibrary, fit: FusionFit | None) -> Recommender:
        """A recommender over the service's own LLM."""
        return Recommender(retriever, self.engine, library, self.settings.llm, self._memory, fit)

    def _note_artifact(self) -> None:
        self.metrics.artifact_created.set(self.recommender.retriever.manifest.created.timestamp())
