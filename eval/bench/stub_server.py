"""LLM server that answers at once with made-up numbers, for measuring the code around an LLM. It speaks vLLM's
protocol.

It is plain ASGI and runs in its own process: ``uvicorn eval.bench.stub_server:app``.
"""

import json
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
_CHARACTERS_PER_TOKEN = 4
_VOCABULARY = 50_000


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer one request."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    asked = json.loads(body) if body else {}
    content = json.dumps(_answer(scope["path"], asked)).encode()
    if asked.get("stream"):
        content = b"data: " + content + b"\n\ndata: [DONE]\n\n"
    await _send(send, 200, content)


async def _send(send: Callable[[Message], Awaitable[None]], status: int, content: bytes) -> None:
    kind = b"text/event-stream" if content.startswith(b"data:") else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if path == "/v1/models":
        return {"data": [{"id": "instant", "root": "instant", "max_model_len": 8192}]}
    if path == "/tokenize":
        text = body.get("prompt") or "\n".join(one["content"] for one in body["messages"])
        chunks = range(0, len(text), _CHARACTERS_PER_TOKEN)
        tokens = [zlib.crc32(text[at : at + _CHARACTERS_PER_TOKEN].encode()) % _VOCABULARY for at in chunks]
        return {"tokens": tokens or [0]}
    if path == "/v1/completions":
        return {"choices": _choices(body), "usage": {"prompt_tokens": len(body["prompt"]), "completion_tokens": 1}}
    return {}


def _choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    if "prompt_logprobs" in body:
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        return [{"index": index, "prompt_logprobs": _places(tokens)} for index, tokens in enumerate(prompts)]
    forced = body.get("vllm_xargs", {})
    if "whyrank_lengths" not in forced:
        written = {"text": " it is a drama.", "token_ids": [1], "logprobs": {"token_logprobs": [-1.0]}}
        return [{"index": index, **written} for index in range(body.get("n", 1))]
    tokens = iter(forced["whyrank_tokens"])
    choices = []
    for index, length in enumerate(forced["whyrank_lengths"]):
        own = [next(tokens) for _ in range(length)]
        logprobs = [_logprob(token) for token in own]
        choices.append({"index": index, "token_ids": own, "logprobs": {"token_logprobs": logprobs}})
    return choices


def _places(tokens: list[int]) -> list[dict[str, Any] | None]:
    return [None, *({str(token): {"logprob": _logprob(token)}} for token in tokens[1:])]


def _logprob(token: int) -> float:
    return -1.0 - token % 7
