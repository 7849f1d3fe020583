"""What may go wrong with the LLM in a stage without a caller's seeing an error."""

from prompts import TemplateError
from reranker.errors import LLMError, LLMTimeout

StageFailure = TimeoutError | LLMError | TemplateError
STAGE_FAILURES = (TimeoutError, LLMError, TemplateError)


def failure_of(error: StageFailure) -> LLMError | TemplateError:
    """The error that stands for a failure; being late is one, too."""
    return LLMTimeout("the LLM did not answer within the deadline") if isinstance(error, TimeoutError) else error
