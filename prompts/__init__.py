"""What do we say to the model? Prompt templates, their inputs, and sanitising of untrusted text."""

from prompts.budget import BudgetedPrompt, BudgetSteps, Trimmed, budget_steps, fit_to_budget, newest_entries
from prompts.errors import BudgetError, LibraryError, TemplateError
from prompts.front_matter import FrontMatter, Sampling, Scoring
from prompts.inputs.inputs import (
    KNOWN,
    SHAPES,
    CandidateInput,
    EvidenceInput,
    HistoryInput,
    ItemInput,
    allowed_inputs,
    candidate_inputs,
    document_inputs,
    evidence_inputs,
    history_inputs,
    item_input,
    profile_input,
    with_attributes,
)
from prompts.inputs.samples import EXAMPLE, Sample, user_sample
from prompts.inputs.sanitize import MAX_DOCUMENT, MAX_LENGTH, Sanitizer
from prompts.isolation import Rendered, render_isolated
from prompts.library.checks import check_template, render_sample
from prompts.library.editor import PromptEditor, draft_hash
from prompts.library.library import PromptLibrary, read_source
from prompts.library.names import DEFAULT_ALIAS, DRAFT, TemplateReference, version_number
from prompts.library.runtime_failures import RuntimeFailures
from prompts.library.store import Change, Stamp, append_line, file_stamp, read_lines, write_atomically
from prompts.pattern import FACTS
from prompts.template import Message, Prompt, PromptTemplate

__all__ = [
    "DEFAULT_ALIAS",
    "DRAFT",
    "EXAMPLE",
    "FACTS",
    "KNOWN",
    "MAX_DOCUMENT",
    "MAX_LENGTH",
    "SHAPES",
    "BudgetError",
    "BudgetSteps",
    "BudgetedPrompt",
    "CandidateInput",
    "Change",
    "EvidenceInput",
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
    "allowed_inputs",
    "append_line",
    "budget_steps",
    "candidate_inputs",
    "check_template",
    "document_inputs",
    "draft_hash",
    "evidence_inputs",
    "file_stamp",
    "fit_to_budget",
    "history_inputs",
    "item_input",
    "newest_entries",
    "profile_input",
    "read_lines",
    "read_source",
    "render_isolated",
    "render_sample",
    "user_sample",
    "version_number",
    "with_attributes",
    "write_atomically",
]
