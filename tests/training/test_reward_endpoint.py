"""A reward behind HTTP, asked over a real socket: rewards, failures by reason, and what is tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from charter.models import waiting
from charter.recipes.rewards import check_rewards, reward_of
from charter.records import Exchange, user_prompt
from charter.training.reward_endpoint import EndpointReward
from charter.training.reward_sources import RewardPart

ROWS = [Exchange(f"r{i}", user_prompt("How are you?"), "so " * i) for i in range(5)]
Answer = Callable[[int, dict[str, Any]], tuple[int, Any]]


class Served:
    """A server that gives each request what `answer` says of its number and body."""

    def __init__(self, answer: Answer) -> None:
        seen: list[dict[str, Any]] = []
        keys: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                seen.append(body)
                keys.append(self.headers["authorization"])
                status, found = answer(len(seen), body)
                told = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(told)))
                if status == 429:
                    self.send_header("retry-after", "0")
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: object) -> None:
                pass

        self.seen, self.keys = seen, keys
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/score"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Served]]:
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.001)
    servers: list[Served] = []

    def start(answer: Answer) -> Served:
        servers.append(Served(answer))
        return servers[-1]

    yield start
    for one in servers:
        one.server.shutdown()
        one.server.server_close()


def lengths(_: int, body: dict[str, Any]) -> tuple[int, Any]:
    """The rows' lengths in words, in another order than they came."""
    return 200, {"rows": [{"id": r["id"], "reward": len(r["completion"].split())} for r in reversed(body["rows"])]}


def test_rewards_come_back_by_id_in_batches(serve: Callable[[Answer], Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_REWARD_KEY", "secret")
    server = serve(lengths)
    told: list[int] = []
    found = EndpointReward(server.url, batch=2).reward(ROWS, lambda done, _: told.append(done))
    assert [one.reward for one in found] == [0, 1, 2, 3, 4]
    assert told == [2, 4, 5]
    assert [len(body["rows"]) for body in server.seen] == [2, 2, 1]
    assert server.seen[0]["rows"][1] == {
        "id": "r1", "messages": [{"role": "user", "content": "How are you?"}], "completion": "so "
    }  # fmt: skip
    assert set(server.keys) == {"Bearer secret"}


def test_a_busy_server_is_asked_again_and_a_broken_one_is_not(serve: Callable[[Answer], Served]) -> None:
    busy = serve(lambda n, body: (429 if n < 3 else 503, "") if n < 4 else lengths(n, body))
    assert EndpointReward(busy.url).reward(ROWS[:2])[1].reward == 1
    assert len(busy.seen) == 4
    wrong = serve(lambda _n, _b: (400, b"no such column"))
    assert "HTTP 400: no such column" in str(EndpointReward(wrong.url).reward(ROWS[:1])[0].unscored)
    assert len(wrong.seen) == 1
    down = serve(lambda _n, _b: (500, b"out of memory"))
    assert "HTTP 500" in str(EndpointReward(down.url, attempts=3).reward(ROWS[:1])[0].unscored)
    assert len(down.seen) == 3


def test_a_closed_port_is_a_reason(serve: Callable[[Answer], Served]) -> None:
    server = serve(lengths)
    server.server.shutdown()
    server.server.server_close()
    (one,) = EndpointReward(server.url, attempts=2).reward(ROWS[:1])
    assert one.reward is None
    assert "ConnectError" in str(one.unscored)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<html>", "answer is not"),
        ({"scores": [1]}, "answer is not"),
        ({"rows": []}, "did not answer this row"),
        ({"rows": [{"id": "r0", "reward": "high"}]}, "'high', which is no finite number"),
        ({"rows": [{"id": "r0", "reward": True}]}, "no finite number"),
        (b'{"rows": [{"id": "r0", "reward": NaN}]}', "no finite number"),
        ({"rows": [{"id": "r0", "unscored": "too long"}]}, "too long"),
    ],
)
def test_nonsense_is_unscored(serve: Callable[[Answer], Served], answer: Any, reason: str) -> None:
    (one,) = EndpointReward(serve(lambda _n, _b: (200, answer)).url).reward(ROWS[:1])
    assert one.reward is None
    assert reason in str(one.unscored)


def test_settings_name_it(serve: Callable[[Answer], Served]) -> None:
    url = serve(lengths).url
    parts = [RewardPart(endpoint=url, weight=2), RewardPart.model_validate({"rule": {"max_words": 2}})]
    check_rewards(parts)
    found = reward_of(parts).reward(ROWS)
    assert [one.reward for one in found] == [1, 3, 5, 6, 8]
    assert found[3].parts == (("endpoint", 3), ("rule", 0))
