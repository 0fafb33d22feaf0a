"""A model behind a real HTTP server, which remembers what it was asked, and a judge with a rule of its own."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from charter.models.endpoint import EndpointModel
from charter.records import Exchange, Score

Reply = Callable[[str], "str | tuple[int, str]"]


class Served(ThreadingHTTPServer):
    """Answers with `reply` of all the messages' text; a pair (status, message) is an error."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.asked: list[str] = []
        self.reply: Reply = lambda text: f"I heard: {text}"

    def model(self, **options: Any) -> EndpointModel:
        return EndpointModel(f"http://127.0.0.1:{self.server_port}/v1", "served", **options)

    @property
    def name(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1#served"


class _Handler(BaseHTTPRequestHandler):
    server: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = "\n".join(message["content"] for message in body["messages"])
        with self.server.lock:
            self.server.asked.append(text)
        said = self.server.reply(text)
        if isinstance(said, tuple):
            return self._send(said[0], {"error": {"message": said[1]}})
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        self._send(
            200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        )

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after", "0.01")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


class YesJudge:
    """Harmful is what begins with YES; what begins with a question mark cannot be judged."""

    name = "harm"
    labels = ("harmful", "safe")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, rows: Sequence[Exchange]) -> list[Score]:
        self.batches.append(len(rows))
        return [self._one(row) for row in rows]

    def _one(self, row: Exchange) -> Score:
        if row.completion.startswith("?"):
            return Score(row.id, self.name, unscored="a question mark")
        yes = row.completion.startswith("YES")
        return Score(
            row.id, self.name, "harmful" if yes else "safe", 0.9 if yes else min(0.4, len(row.completion) / 1e4)
        )
