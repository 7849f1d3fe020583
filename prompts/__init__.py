"""What do we say to the model? Templates, what they may use, and untrusted text made safe."""

from prompts.budget import Fitted, Fitting, Trimmed, fit, fitting, newest
from prompts.checks import check, rendered
from prompts.editor import PromptEditor
from prompts.errors import BudgetError, LibraryError, TemplateError
from prompts.front_matter import FrontMatter, Sampling, Scoring
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
    showing,
)
from prompts.isolation import Rendered, render_isolated
from prompts.library import PromptLibrary, read_source
from prompts.names import DEFAULT_ALIAS, DRAFT, TemplateReference, version_number
from prompts.pattern import FACTS
from prompts.runtime_failures import RuntimeFailures
from prompts.samples import EXAMPLE, Sample, user_sample
from prompts.sanitize import MAX_DOCUMENT, MAX_LENGTH, Sanitizer
from prompts.store import Stamp, stamp, write
from prompts.template import Message, Prompt, PromptTemplate

__all__ = [
    "DEFAULT_ALIAS",
    "DRAFT",
    "EXAMPLE",
    "FACTS",
    "KNOWN",
    "MAX_DOCUMENT",
    "MAX_LENGTH",
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
    "Scoring",
    "Stamp",
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
    "read_source",
    "render_isolated",
    "rendered",
    "showing",
    "stamp",
    "user_sample",
    "version_number",
    "write",
]
