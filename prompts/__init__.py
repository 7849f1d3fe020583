"""What do we say to the model? Templates, what they may use, and untrusted text made safe."""

from prompts.budget import newest
from prompts.errors import BudgetError, TemplateError
from prompts.inputs import HistoryInput, ItemInput, evidence_inputs, history_inputs, item_input
from prompts.library import PromptLibrary
from prompts.sanitize import Sanitizer
from prompts.template import Message, Prompt, PromptTemplate, Sampling

__all__ = [
    "BudgetError",
    "HistoryInput",
    "ItemInput",
    "Message",
    "Prompt",
    "PromptLibrary",
    "PromptTemplate",
    "Sampling",
    "Sanitizer",
    "TemplateError",
    "evidence_inputs",
    "history_inputs",
    "item_input",
    "newest",
]
