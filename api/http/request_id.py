"""The id that a request is known by, here and in the programs before and behind."""

import re
import uuid

REQUEST_ID = b"x-request-id"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,127}")


def request_id(given: str) -> str:
    """The caller's own, if it is one that a log can bear, or a new one."""
    return given if _SANE.fullmatch(given) else uuid.uuid4().hex
