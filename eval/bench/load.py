"""Load on a service over loopback, by a client that costs little beside it. Bounded in connections and time."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

_MOST_CONNECTIONS = 512


@dataclass
class Outcome:
    """What became of the requests of one run; ``seconds`` are those of the answered ones (status 200)."""

    took_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    degraded: int = 0
    refused: int = 0
    failed: int = 0

    def per_s(self, *, within_s: float = float("inf")) -> float:
        """Requests per second that were answered, within so much time each."""
        return sum(took <= within_s for took in self.seconds) / self.took_s if self.took_s else 0.0

    def degraded_share(self) -> float:
        """Share of the answers that were degraded."""
        return round(self.degraded / len(self.seconds), 3) if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Milliseconds that so many percent of the answered requests took at most; 0 if there is none."""
        return float(np.percentile(self.seconds, percent)) * 1000 if self.seconds else 0.0


async def run(
    url: str, bodies: Iterator[bytes], *, connections: int, seconds: float, rate: float | None = None
) -> Outcome:
    """Sends requests to ``/v1/recommendations`` for so many seconds.

    Args:
        url: of the service; on this machine.
        bodies: the requests, endlessly.
        connections: how many are open at once; each sends its next request after the last was answered.
        rate: how many requests are sent per second in all; None sends as fast as they are answered.

    Raises:
        ValueError: the service is on another machine, or there would be too many connections.
    """
    target = urlsplit(url)
    if target.hostname not in ("127.0.0.1", "localhost") or not 1 <= connections <= _MOST_CONNECTIONS:
        raise ValueError(f"load goes to this machine alone, over 1 to {_MOST_CONNECTIONS} connections")
    outcome = Outcome()
    began = time.perf_counter()
    pause = None if rate is None else connections / rate

    async def one(number: int) -> None:
        due = began + (number / connections * pause if pause else 0.0)
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while (now := time.perf_counter()) < began + seconds:
            if pause is not None:
                await asyncio.sleep(max(due - now, 0.0))
                due = max(due + pause, time.perf_counter() - pause)  # what is late is not made up for
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection(target.hostname, target.port)
                sent = time.perf_counter()
                status, content = await _post(reader, writer, next(bodies))
            except (OSError, asyncio.IncompleteReadError, ValueError):
                outcome.failed += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
                continue
            if status == 200:
                outcome.seconds.append(time.perf_counter() - sent)
                outcome.degraded += b'"degraded":[]' not in content
            elif status == 429:
                outcome.refused += 1
            else:
                outcome.failed += 1
        if writer is not None:
            writer.close()

    await asyncio.gather(*map(one, range(connections)))
    outcome.took_s = time.perf_counter() - began
    return outcome


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, bytes]:
    writer.write(
        b"POST /v1/recommendations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return status, await reader.readexactly(int(length[15:]))
