"""A model's server by script, and the guard's server before it, both over real sockets."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

Pieces = list[Any]
"""Of a stream: strings are deltas of choice 0, dicts whole chunks, floats seconds to wait, None breaks off."""


class Model:
    """Says what a test sets; `bodies` are the requests that reached it."""

    def __init__(self) -> None:
        self.says: Any = "Hello."
        self.pieces: Pieces = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.left = False
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.chat)
        self.app.post("/v1/completions")(self.text)
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/embeddings")(self.embeddings)

    async def models(self) -> Any:
        return {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "me"}]}

    async def embeddings(self, request: Request) -> Any:
        self.bodies.append(await request.json())
        return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}], "model": "m"}

    async def text(self, request: Request) -> Any:
        body = await self._seen(request)
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        choices = [
            {"index": i, "text": str(self.says), "finish_reason": "stop", "logprobs": None} for i in range(len(prompts))
        ]
        return {"id": "t1", "object": "text_completion", "created": 1, "model": "m", "choices": choices}

    async def chat(self, request: Request) -> Any:
        body = await self._seen(request)
        if isinstance(self.says, Response):
            return self.says
        if body.get("stream"):
            return StreamingResponse(self._stream(), media_type="text/event-stream")
        messages = self.says if isinstance(self.says, list) else [self.says] * (body.get("n") or 1)
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": one} if isinstance(one, str) else one,
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": str(one), "logprob": -1.0, "bytes": None, "top_logprobs": []}]},
            }
            for i, one in enumerate(messages)
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "system_fingerprint": "f"}
        return {**head, "choices": choices, "usage": usage, "vendor": {"kept": True}}

    async def _seen(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        return body

    async def _stream(self) -> AsyncIterator[bytes]:
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "vendor": 7}
        self.sent, self.left = 0, False
        try:
            for piece in self.pieces:
                if piece is None:
                    raise RuntimeError("the model's server dies")
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                if isinstance(piece, bytes):
                    yield piece
                    continue
                if isinstance(piece, str):
                    piece = {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
                yield b"data: " + json.dumps({**head, **piece}).encode() + b"\n\n"
                self.sent += 1
                await asyncio.sleep(0)
            yield b"data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.left = True
            raise


def finish(reason: str = "stop", index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}


class Served:
    """An application behind a real port, until `stop`."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, "127.0.0.1", 0, log_level="critical", lifespan="on")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(10)


def failing(status: int, body: Any) -> Callable[[], Response]:
    return lambda: JSONResponse(body, status)
