"""What the routes about prompts share: finding what a request names, in whose name it changes something, ETags."""

from collections.abc import Sequence

from fastapi import Request

from api.http.problems import Refused, without_folders
from api.http.state import Service
from api.prompt_summary import PromptSummary
from prompts import EXAMPLE, PromptEditor, PromptTemplate, Sample, TemplateError, TemplateReference, user_sample
from reranker import Task
from retrieval import InputError, NotFoundError, Retriever

_WHO = "the HTTP API"


def check_version(current: int | None, if_match: str | None, if_none_match: str | None = None) -> None:
    """Check that a request names the version that an alias has.

    Raises:
        Refused: If it names none (428), or another (412).
    """
    if if_match is None and if_none_match is None:
        raise missing_precondition("alias")
    wanted = [one.strip() for one in (if_match or "").split(",")]
    matches = if_match is None or (current is not None and ("*" in wanted or etag(current) in wanted))
    if not matches or (if_none_match is not None and (if_none_match.strip() != "*" or current is not None)):
        raise Refused(
            412,
            InputError(
                f"the alias names {current or 'no version'}",
                field="If-Match",
                remedy="Look at what changed, then try again",
                code="alias_moved",
            ),
        )


def missing_precondition(what: str) -> Refused:
    """Return the refusal (428) of a change that does not name the state that it replaces."""
    error = InputError(
        "is missing: a change must name the state that it replaces",
        field="If-Match",
        remedy=f"Read the {what} and send its ETag; for a new {what} send 'If-None-Match: *'",
        code="precondition_required",
    )
    return Refused(428, error)


def etag(version: int | str) -> str:
    """Return the ETag of a version, or of a draft's hash."""
    return f'"{version}"'


def editor_for(request: Request, service: Service, who: str, retriever: Retriever | None = None) -> PromptEditor:
    """Create an editor in the name of a request's sender.

    Args:
        who: name that the sender gives.
        retriever: knows users for whom a template must render; None if nothing is checked.
    """
    key = request.state.key
    names = [name for name in (printable_name(who), key.name if key else "") if name]
    users = retriever.user_ids() if retriever else ()
    samples = [user_sample(retriever, user) for user in users[:: max(len(users) // 3, 1)][:3]] if retriever else ()
    return PromptEditor(service.library, who=", with the key ".join(names) or _WHO, samples=samples)


def template_for(service: Service, task: Task, field: str, reference: str) -> PromptTemplate:
    """Return the template for a task that a field of a request names.

    Raises:
        InputError: If it is none.
    """
    try:
        template = service.library.get(reference)
    except TemplateError as error:
        raise InputError(error.message, field=field, remedy=error.remedy, code=error.code) from error
    if template.meta.task != task:
        raise InputError(
            f"'{template.reference}' is a {template.meta.task} template",
            field=field,
            remedy=f"Name a {task} template, such as '{task}'",
            code="wrong_task",
        )
    return template


def printable_name(text: str) -> str:
    """Return a name on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def found(service: Service, name: str) -> PromptSummary:
    """Summarise a template that a path names.

    Raises:
        Refused: If there is none (404).
    """
    try:
        return summary_of(service, name)
    except TemplateError as error:
        raise Refused(404 if error.code == "unknown_template" else 500, error) from error


def aliased(service: Service, name: str, alias: str) -> int:
    """Return the version that an alias of a path names.

    Raises:
        Refused: If there is none (404).
    """
    version = found(service, name).aliases.get(alias)
    if version is None:
        raise Refused(404, NotFoundError(f"'{name}' has no alias '{alias}'", field="alias", code="unknown_alias"))
    return version


def summary_of(service: Service, name: str) -> PromptSummary:
    """Summarise a template without telling where its files are on this machine."""
    summary = PromptSummary.of(service.library, name)
    problem = summary.problem and without_folders(summary.problem)
    return summary.model_copy(update={"problem": problem})


def saved(service: Service, reference: TemplateReference) -> PromptTemplate:
    """Return a template that a path names.

    Raises:
        Refused: If there is none (404), or it cannot be used (422).
    """
    try:
        return service.library.get(reference)
    except TemplateError as error:
        raise Refused(404 if error.code == "unknown_template" else 422, error) from error


async def refuse_forgotten(service: Service, field: str, user_ids: Sequence[str]) -> None:
    """Refuse users whose fitted history is hidden, as if they were unknown.

    Raises:
        InputError: If one is hidden.
    """
    for user_id in user_ids:
        if (await service.feedback.known(user_id)).masked:
            raise InputError("there is no such user", field=field, code="unknown_user")


def sample_for(retriever: Retriever, user_id: str | None, query: str, template: PromptTemplate) -> Sample:
    """Return the inputs of a template for a user, or for the example.

    Raises:
        InputError: If there is no such user.
    """
    if user_id is None:
        return EXAMPLE
    if not retriever.has_user(user_id):
        raise InputError("there is no such user", field="user_id", code="unknown_user")
    return user_sample(retriever, user_id, query=query, locale=template.meta.locale)
