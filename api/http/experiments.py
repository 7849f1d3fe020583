"""Assign requests to the versions of an online experiment."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from api.settings.experiments import OnlineExperiment
from reranker import PromptChoice


def assign(
    experiments: Mapping[str, OnlineExperiment], user_id: str | None, choice: PromptChoice
) -> tuple[PromptChoice, dict[str, str]]:
    """Choose prompts by a hash of the user's id, so that a user keeps a version while the shares stay as they are.

    Requests without a user, and tasks for which the request names a prompt, are not part of an experiment.

    Returns:
        The prompts, and the assigned prompt by experiment.
    """
    assigned: dict[str, str] = {}
    if user_id is None:
        return choice, assigned
    for name, experiment in experiments.items():
        if getattr(choice, experiment.task) is None:
            assigned[name] = assigned_prompt(name, experiment, user_id)
            choice = replace(choice, **{experiment.task: assigned[name]})
    return choice, assigned


def assigned_prompt(name: str, experiment: OnlineExperiment, user_id: str) -> str:
    """Return the prompt of a user. The hash holds the experiment's name, so that experiments do not depend on each
    other.
    """
    digest = hashlib.sha256(f"{name}\0{user_id}".encode("utf-8", "surrogatepass")).digest()
    place, end = int.from_bytes(digest[:8]) / 2**64, 0.0
    for prompt, share in experiment.shares.items():
        end += share
        if place < end:
            return prompt
    return next(prompt for prompt, share in reversed(experiment.shares.items()) if share > 0)
