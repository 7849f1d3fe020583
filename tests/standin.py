"""A stand-in for vLLM that speaks its protocol over a real socket, and can be told to go wrong.

Its tokens are the characters' code points, or what ``tokenize`` makes of a text. Its likelihood of a continuation, and
of a single next token, can be set by functions; its written text by a string or a function of the prompt.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SPECIAL = "<|im_end|>"
Json = dict[str, Any]


def as_events(answer: Json) -> bytes:
    """A completion as vLLM streams it: text in pieces, then the usage, then the end."""
    events: list[Json] = []
    for choice in answer.get("choices", []):
        text = choice.get("text")
        pieces = (text[:3], text[3:]) if isinstance(text, str) else (text,)
        events += [{"choices": [{"index": choice.get("index"), "text": piece}]} for piece in pieces]
    events.append({"choices": [], "usage": answer.get("usage")})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


class StandIn:
    """Serves until the ``with`` block ends.

    Set ``fault`` to change every answer: a function of path and answer that returns another answer (an object, or
    bytes sent as they are), a status code, None to close the connection without an answer, or sleeps first.
    """

    def __init__(self, port: int = 0) -> None:
        self.logprob: Callable[[str, str], float] = lambda _prefix, continuation: -float(len(continuation))
        self.next: Callable[[str, str], float] = lambda _prompt, token: -float(ord(token))
        self.text: str | Callable[[str], str] = " it is a drama."
        self.tokenize: Callable[[str], list[str]] = list
        self._vocabulary: dict[str, int] = {}
        self.patterns: Callable[[str], str | int] | None = None
        """What it writes for a pattern, or the status that it refuses one with; without, it does not know patterns."""
        self.refusal: str | None = None
        """What completions are refused with (HTTP 400), as vLLM does."""
        self.gone = threading.Event()
        """Set when somebody closed a connection while waiting for an answer."""
        self.forced = True
        self.max_model_len = 4096
        self.adapters: list[str] = []
        """Names of adapters that it serves beside its model, listed as vLLM lists them."""
        self.fault: Callable[[str, Json], Json | bytes | int | None] | None = None
        self.requests: list[tuple[str, Json]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                self._reply({})

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: Json) -> None:
                stand_in.requests.append((self.path, body))
                answer: Json | bytes | int | None = stand_in.answer(self.path, body)
                if stand_in.fault is not None and isinstance(answer, dict):
                    answer = stand_in.fault(self.path, answer)
                if answer is None:
                    self.close_connection = True
                    return
                self.connection.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if not self.connection.recv(1, socket.MSG_PEEK):
                        stand_in.gone.set()
                self.connection.setblocking(True)
                status = answer if isinstance(answer, int) else 200
                if stand_in.refusal is not None and self.path == "/v1/completions":
                    status, answer = 400, {"error": {"message": stand_in.refusal, "code": 400}}
                stream = body.get("stream") and status == 200 and isinstance(answer, dict)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                content = as_events(answer) if stream and isinstance(answer, dict) else content
                self.send_response(status)
                self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that went away is what some tests are about."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def prompts(self) -> str:
        """Everything that was sent to be tokenised, in one string."""
        return json.dumps([body for path, body in self.requests if path == "/tokenize"], ensure_ascii=False)

    def hang(self, seconds: float) -> None:
        """Makes every answer late."""

        def late(_path: str, answer: Json) -> Json:
            time.sleep(seconds)
            return answer

        self.fault = late

    def answer(self, path: str, body: Json) -> Json | int:
        """What vLLM would answer."""
        if path == "/v1/models":
            own = {"id": "stand-in", "root": "stand-in", "max_model_len": self.max_model_len}
            adapters = [{"id": name, "root": f"/adapters/{name}", "parent": "stand-in"} for name in self.adapters]
            return {"data": [own, *adapters]}
        if path == "/tokenizer_info":
            return {"added_tokens_decoder": {"2": {"content": SPECIAL}}, "eos_token": SPECIAL}
        if path == "/tokenize":
            text = body.get("prompt")
            if text is None:
                text = "\n".join(f"{message['role']}: {message['content']}" for message in body["messages"])
            return {"tokens": [self._id(part) for part in self.tokenize(text)] or [0]}
        if path == "/v1/completions":
            return self._complete(body)
        return 404

    def _complete(self, body: Json) -> Json | int:
        choices: list[Json] = []
        lengths = body.get("vllm_xargs", {}).get("whyrank_lengths")
        if lengths is not None and self.forced:
            tokens = iter(body["vllm_xargs"]["whyrank_tokens"])
            for index, length in enumerate(lengths):
                own = [next(tokens) for _ in range(length)]
                total = self.logprob(self._text(body["prompt"]), self._text(own))
                choices.append(
                    {"index": index, "token_ids": own, "logprobs": {"token_logprobs": [total / length] * length}}
                )
            choices.reverse()  # the order of choices is no promise of the protocol
        elif "prompt_logprobs" in body:
            for index, prompt in enumerate(body["prompt"]):
                # The last line is the continuation.
                start = max(self._text(prompt[:-1]).rfind("\n") + 1, 1)
                own = prompt[start:]
                each = self.logprob(self._text(prompt[:start]), self._text(own)) / len(own)
                places: list[Json | None] = [None] + [{str(token): {"logprob": -1.0}} for token in prompt[1:start]]
                places += [{str(token): {"logprob": each}} for token in own]
                choices.append({"index": index, "prompt_logprobs": places})
        elif "logprob_token_ids" in body:
            for index, prompt in enumerate(body["prompt"]):
                read = {
                    f"token_id:{token}": self.next(self._text(prompt), self._text([token]))
                    for token in body["logprob_token_ids"]
                }
                logprobs = {"token_logprobs": [-1.0], "top_logprobs": [{"token_id:63": -1.0} | read]}
                choices.append({"index": index, "text": "?", "logprobs": logprobs})
        else:
            shaped = body.get("structured_outputs", {}).get("regex") if self.patterns else None
            written = self.patterns(shaped) if self.patterns and shaped else self.text
            if isinstance(written, int):
                return written
            text = written if isinstance(written, str) else written(self._text(body["prompt"]))
            choice = {"text": text, "token_ids": [1], "logprobs": {"token_logprobs": [-1.0]}}
            choices = [{"index": index, **choice} for index in range(body.get("n", 1))]
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
        return {"choices": choices, "usage": usage}

    def _id(self, part: str) -> int:
        if len(part) == 1:
            return ord(part)
        return self._vocabulary.setdefault(part, 0x110000 + len(self._vocabulary))  # beyond the last code point

    def _text(self, tokens: list[int]) -> str:
        parts = {number: part for part, number in self._vocabulary.items()}
        return "".join(parts.get(token) or chr(token) for token in tokens)
