"""Read request bodies, limited in size, time and total memory."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from api.http.connections import BODY_S
from api.http.problems import Refused
from retrieval import InputError

MOST_BODY_BYTES = 2 * 2**20
MOST_RERANK_BYTES = 16 * 2**20
MOST_BYTES_IN_ALL = 256 * 2**20
_SMALL_BYTES = 2**16
"""Size that is always accepted, regardless of other bodies."""
_RERANK = ("/v1/rerank", "/v2/rerank")


class CallerGone(Exception):
    """The client closed the connection before the response was complete."""


class Uploads:
    """Track the memory that all request bodies hold together."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, path: str, headers: Headers, receive: Receive) -> bytes:
        """Read a request's body. Its memory counts until :meth:`done`.

        Raises:
            CallerGone: If the client closes the connection.
            Refused: If the body is late (408), too large (413), or other bodies hold too much memory (429).
        """
        most = MOST_RERANK_BYTES if path in _RERANK else MOST_BODY_BYTES
        announced = headers.get("content-length", "0")
        if len(announced) > len(str(most)) or int(announced or 0) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                while True:
                    message: Message = await receive()
                    if message["type"] == "http.disconnect":
                        raise CallerGone
                    part = message.get("body", b"")
                    self._held += len(part)
                    size += len(part)
                    if size > most:
                        raise _too_large(most)
                    if size > _SMALL_BYTES and self._held > MOST_BYTES_IN_ALL:
                        raise _refused(429, "The service holds as many bodies as it can", "Try again later", "busy")
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            self.done(size)
            raise _refused(
                408, f"The body did not arrive within {BODY_S:g} s", "Send it at once", "too_late"
            ) from error
        except BaseException:
            self.done(size)
            raise

    def done(self, size: int) -> None:
        """Release the memory of a body."""
        self._held -= size


def _too_large(most: int) -> Refused:
    return _refused(413, f"The body is larger than {most // 2**20} MiB", "Send less at a time", "too_large")


def _refused(status: int, problem: str, remedy: str, code: str) -> Refused:
    return Refused(status, InputError(problem, remedy=remedy, code=code))
