"""Request ids, shared with the programs before and behind this service."""

import re
import uuid

REQUEST_ID = b"x-request-id"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,127}")


def request_id(given: str) -> str:
    """Return the caller's id if it is safe to log, or a new one."""
    return given if _SANE.fullmatch(given) else uuid.uuid4().hex
