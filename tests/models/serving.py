"""A real OpenAI-compatible server on 127.0.0.1: a tiny model answers, with its own log-probs and token counts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from charter.models.generation.local import LocalTextModel
from charter.models.loading import load_model
from charter.models.template import chat_format
from charter.records import Message, Sampling


class ModelServer(ThreadingHTTPServer):
    """Serves a model folder. After `up` answers every request gets a 503, until `up` is raised."""

    daemon_threads = True

    def __init__(self, folder: Path, up: int = 10**9) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.local = load_model(str(folder), "float32")
        self.text = LocalTextModel(self.local)
        self.format = chat_format(self.local.tokenizer)
        self.lock = threading.Lock()
        self.up = up
        self.answered: list[str] = []
        self.usage: list[dict[str, int]] = []

    @property
    def endpoint(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1#tiny"

    def answer(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """A chat completion; None when down."""
        prompt = tuple(Message(m["role"], m["content"]) for m in body["messages"])
        with self.lock:
            if len(self.answered) >= self.up:
                return None
            how = Sampling(body["max_tokens"], body["temperature"], body["top_p"], seed=body["seed"])
            ((said,),) = self.text.generate([prompt], how)
            self.answered.append(json.dumps(body, sort_keys=True))
            choice = {"index": 0, "message": {"role": "assistant", "content": said.text}, "finish_reason": said.finish}
            ids = self.format.prompt_ids(prompt)
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [self._first_token(ids, body["top_logprobs"])]}
            usage = {"prompt_tokens": len(ids), "completion_tokens": len(said.tokens), "total_tokens": 0}
            self.usage.append(usage)
        return {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice],
                "usage": usage}  # fmt: skip

    def _first_token(self, ids: tuple[int, ...], top: int) -> dict[str, Any]:
        with torch.no_grad():
            logprobs = self.local.model(input_ids=torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        values, places = logprobs.topk(top)
        found = [
            {"token": self.local.tokenizer.decode([place]), "logprob": value, "bytes": None}
            for value, place in zip(values.tolist(), places.tolist(), strict=True)
        ]
        return {**found[0], "top_logprobs": found}


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        found = self.server.answer(body)
        data = json.dumps(found or {"error": {"message": "down for now"}}).encode()
        self.send_response(200 if found else 503)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def serving(folder: Path, up: int = 10**9) -> Iterator[ModelServer]:
    """A running server."""
    server = ModelServer(folder, up)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
