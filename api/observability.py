"""The program's own log: one JSON object a line, without anything that a user said or did."""

import sys
import traceback

import structlog


def configure_logging() -> None:
    """Logs to standard error, since standard output is for answers."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def places(error: BaseException) -> list[str]:
    """Where an error came from, innermost last: files and lines, without messages and values, which may hold user
    data.
    """
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)][
        -12:
    ]
