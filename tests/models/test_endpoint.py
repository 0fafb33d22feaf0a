"""The endpoint client against a real HTTP server that speaks the protocol on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from charter.errors import UserError
from charter.models.endpoint import EndpointModel, EndpointSettings, Passing
from charter.records import Sampling, user_prompt


class Server(ThreadingHTTPServer):
    """Echoes the last message in capitals; what is asked decides how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.tries: dict[str, int] = {}
        self.running = self.most_running = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.append(self.headers["authorization"])
            self.server.tries[text] = self.server.tries.get(text, 0) + 1
            tries = self.server.tries[text]
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
        time.sleep(2.0 if text.startswith("slow") and tries == 1 else 0.02)
        with self.server.lock:
            self.server.running -= 1
        if text.startswith("busy") and tries <= 2:
            return self.answer(429, {"error": {"message": "too many"}}, {"retry-after": "0.05"})
        if text.startswith("broken"):
            return self.answer(500, {"error": {"message": "it is on fire"}})
        if text.startswith("bad"):
            return self.answer(400, {"error": {"message": "no such parameter"}})
        if text.startswith("nonsense"):
            return self.answer(200, {"choices": []})
        finish = "length" if body["max_tokens"] < 5 else "stop"
        logprobs = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}] * 2}
        choice = {"index": 0, "message": {"role": "assistant", "content": text.upper()}, "finish_reason": finish}
        if text.startswith("logprobs"):
            choice["logprobs"] = logprobs
        self.answer(
            200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        )

    def answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for key, value in {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # the caller has timed out and gone
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def endpoint(server: Server, **options: Any) -> EndpointModel:
    return EndpointModel(f"http://127.0.0.1:{server.server_port}/v1", "small", **options)


def test_answers_in_order_concurrently_with_the_sampling_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_API_KEY", "first")
    monkeypatch.setenv("OPENAI_API_KEY", "second")
    seen: list[tuple[int, int]] = []
    model = EndpointModel.from_name(f"openai:http://127.0.0.1:{server.server_port}/v1#small")
    prompts = [user_prompt(f"question {i}", system="Be brief.") for i in range(12)]
    answers = model.generate(prompts, Sampling(30, 0.5, 0.9, 2, 3, ("###",)), lambda done, of: seen.append((done, of)))
    assert [[one.text for one in row] for row in answers] == [[f"QUESTION {i}"] * 2 for i in range(12)]
    assert seen == [(i, 24) for i in range(1, 25)]
    assert 1 < server.most_running <= 16
    assert set(server.keys) == {"Bearer first"}
    body = server.bodies[0]
    assert body["model"] == "small"
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["stop"]) == (30, 0.5, 0.9, ["###"])
    assert len({body["seed"] for body in server.bodies}) == 2  # one per sample, so that samples differ


def test_retries_what_may_pass_and_not_what_cannot(server: Server) -> None:
    model = endpoint(server, attempts=4)
    (busy,), (bad,), (nonsense,), (fine,) = model.generate(
        [user_prompt(text) for text in ("busy", "bad", "nonsense", "fine")], Sampling(30)
    )
    assert (busy.text, server.tries["busy"]) == ("BUSY", 3)
    assert (bad.finish, server.tries["bad"]) == ("error", 1)
    assert "no such parameter" in str(bad.error)
    assert (nonsense.finish, server.tries["nonsense"]) == ("error", 1)
    assert fine.text == "FINE"


def test_gives_up_with_the_reason(server: Server) -> None:
    ((broken,),) = endpoint(server, attempts=2).generate([user_prompt("broken")], Sampling(30))
    assert (broken.finish, broken.text, broken.logprob) == ("error", "", None)
    assert "500" in str(broken.error)
    assert server.tries["broken"] == 2


def test_a_time_out_is_tried_again(server: Server) -> None:
    ((slow,),) = endpoint(server, timeout_seconds=0.5, attempts=2).generate([user_prompt("slow")], Sampling(30))
    assert slow.text == "SLOW"
    assert server.tries["slow"] == 2


def test_no_server_is_an_error_with_its_address() -> None:
    ((lost,),) = EndpointModel("http://127.0.0.1:9/v1", "m", attempts=1).generate([user_prompt("hello")], Sampling(3))
    assert lost.finish == "error"
    assert "127.0.0.1:9" in str(lost.error)


def test_length_and_logprobs(server: Server) -> None:
    (cut,), (scored,) = endpoint(server).generate([user_prompt("cut"), user_prompt("logprobs")], Sampling(4))
    assert (cut.finish, cut.logprob, cut.tokens) == ("length", None, ())
    assert (scored.logprob, scored.token_logprobs) == (-1.0, (-0.5, -0.5))


@pytest.mark.parametrize("name", ["openai:http://host:1/v1", "openai:host:1/v1#m", "openai:#m", "http://host/v1#m"])
def test_a_name_of_another_shape_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="openai:http://host:port/v1#name"):
        EndpointModel.from_name(name)


def test_tokens_are_counted_and_what_may_pass_is_told_from_what_cannot(tiny_base: Path) -> None:
    from serving import serving

    with serving(tiny_base, up=2) as real:
        model = EndpointModel.from_name(real.endpoint, EndpointSettings(attempts=1, concurrency=1))
        prompts = [user_prompt(text) for text in ("one", "two", "three")]
        (one,), (two,), (three,) = model.generate(prompts, Sampling(4))
        assert one.prompt_tokens == len(real.format.prompt_ids(prompts[0]))
        assert 1 <= two.completion_tokens <= 4
        assert (three.finish, three.passing) == ("error", True)


def test_what_cannot_pass_is_not_called_passing(server: Server) -> None:
    ((bad,), (broken,)) = endpoint(server, attempts=1).generate(
        [user_prompt("bad"), user_prompt("broken")], Sampling(3)
    )
    assert (bad.passing, broken.passing) == (False, True)


def test_options_are_the_served_models_own_chances(tiny_base: Path) -> None:
    from serving import serving

    with serving(tiny_base) as real:
        model = EndpointModel.from_name(real.endpoint)
        prompt = user_prompt("Which one?")
        logits = real.local.model(input_ids=torch.tensor([real.format.prompt_ids(prompt)])).logits[0, -1].float()
        wanted = logits.log_softmax(-1)
        top = [real.local.tokenizer.decode([place]) for place in wanted.topk(20).indices.tolist()]
        first, second = [text for text in top if text.strip() and text.isascii()][:2]
        ((a, b),) = model.option_logprobs([(prompt, (first, second))])
        ids = [real.local.tokenizer.encode(text, add_special_tokens=False)[0] for text in (first, second)]
        assert (a, b) == (
            pytest.approx(wanted[ids[0]].item(), abs=1e-4),
            pytest.approx(wanted[ids[1]].item(), abs=1e-4),
        )
        # One that is not among the top ones is no likelier than the last of them; with none there is nothing to say.
        ((found, least),) = model.option_logprobs([(prompt, (first, "no such token"))])
        assert (found, least) == (pytest.approx(a), pytest.approx(wanted.topk(20).values[-1].item(), abs=1e-4))
        ((none, nothing),) = model.option_logprobs([(prompt, ("no such token", "nor this"))])
        assert none == nothing == -math.inf


def test_a_server_without_log_probs_says_so(server: Server) -> None:
    fine, bad = endpoint(server, attempts=1).option_logprobs([(user_prompt("x"), "AB"), (user_prompt("bad"), "AB")])
    assert fine == "the server gives no top_logprobs"
    assert "no such parameter" in str(bad)
    (broken,) = endpoint(server, attempts=1).option_logprobs([(user_prompt("broken"), "AB")])
    assert isinstance(broken, Passing)
    assert "HTTP 500" in broken
    assert not isinstance(bad, Passing)


def test_the_rate_limit_spreads_requests(server: Server) -> None:
    begun = time.monotonic()
    endpoint(server, requests_per_minute=600.0).generate([user_prompt(f"q{i}") for i in range(6)], Sampling(3))
    assert time.monotonic() - begun >= 0.5


@pytest.mark.slow
def test_transformers_serve_answers_and_counts(tiny_base: Path) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(tiny_base), "--device", "cpu"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        model = EndpointModel(f"http://127.0.0.1:{port}/v1", str(tiny_base), attempts=1, timeout_seconds=60)
        until = time.monotonic() + 180
        answer = model.generate([user_prompt("Hello")], Sampling(4))[0][0]
        while answer.passing and time.monotonic() < until:
            time.sleep(1)
            answer = model.generate([user_prompt("Hello")], Sampling(4))[0][0]
        assert answer.finish in ("stop", "length"), answer.error
        assert answer.prompt_tokens > 0
    finally:
        process.terminate()
        process.wait(30)
