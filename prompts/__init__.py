"""What do we say to the model? Templates, what they may use, and untrusted text made safe."""

from prompts.budget import Fitted, Fitting, Trimmed, fit, fitting, newest
from prompts.checks import check, rendered
from prompts.editor import PromptEditor
from prompts.errors import BudgetError, LibraryError, TemplateError
from prompts.front_matter import FrontMatter, Sampling
from prompts.inputs import (
    KNOWN,
    CandidateInput,
    HistoryInput,
    ItemInput,
    candidate_inputs,
    document_inputs,
    evidence_inputs,
    history_inputs,
    inputs_of,
    item_input,
    profile_input,
)
from prompts.isolation import Rendered, render_isolated
from prompts.library import PromptLibrary
from prompts.names import TemplateReference
from prompts.runtime_failures import RuntimeFailures
from prompts.samples import EXAMPLE, Sample, user_sample
from prompts.sanitize import Sanitizer
from prompts.template import Message, Prompt, PromptTemplate

__all__ = [
    "EXAMPLE",
    "KNOWN",
    "BudgetError",
    "CandidateInput",
    "Fitted",
    "Fitting",
    "FrontMatter",
    "HistoryInput",
    "ItemInput",
    "LibraryError",
    "Message",
    "Prompt",
    "PromptEditor",
    "PromptLibrary",
    "PromptTemplate",
    "Rendered",
    "RuntimeFailures",
    "Sample",
    "Sampling",
    "Sanitizer",
    "TemplateError",
    "TemplateReference",
    "Trimmed",
    "candidate_inputs",
    "check",
    "document_inputs",
    "evidence_inputs",
    "fit",
    "fitting",
    "history_inputs",
    "inputs_of",
    "item_input",
    "newest",
    "profile_input",
    "render_isolated",
    "rendered",
    "user_sample",
]
