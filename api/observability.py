"""Logging: one JSON object per line, without user data."""

import logging
import sys
import traceback
from types import FrameType

import structlog
from structlog.typing import EventDict, WrappedLogger

_SHARED = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
)
_MOST_PLACES = 12


def configure_logging() -> None:
    """Log to standard error; standard output is for results."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer(ensure_ascii=False)],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def redirect_libraries() -> None:
    """Format the logs of libraries (uvicorn, asyncio) the same way. Drop error messages, which may contain user input,
    and keep the stack locations.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                _first_line_and_places,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.INFO)


def places(error: BaseException) -> list[str]:
    """Return the stack locations of an error, innermost last. Omit messages and values, which may contain user data."""
    return _lines(traceback.extract_tb(error.__traceback__))


def places_of(frame: FrameType) -> list[str]:
    """Return the stack locations of a frame, in the same format."""
    return _lines(traceback.extract_stack(frame))


def _lines(frames: traceback.StackSummary) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames][-_MOST_PLACES:]


def _first_line_and_places(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["event"] = str(event["event"]).partition("\n")[0]
    raised = event.pop("exc_info", None)
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event.update(error=type(error).__name__, places=places(error))
    return event
