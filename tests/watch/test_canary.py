"""Canaries: a model that got worse is named by metric and clause, one that did not is left alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scipy.stats import binom

from charter.errors import UserError
from charter.evaluation.results import Outcome
from charter.evaluation.sides import Side
from charter.watch.canary import judge_canaries, run_canaries


def side(name: str, values: dict[str, list[float | None]]) -> Side:
    outcomes = [
        Outcome("suite", metric, str(n), 1, value, clauses=("harm.crime",), unscored=None if value is not None else "x")
        for metric, given in values.items()
        for n, value in enumerate(given)
    ]
    return Side(name, tuple(outcomes), ())


def test_a_metric_that_fell_is_an_alarm_with_its_clause() -> None:
    base = side("a", {"refused": [1.0] * 40 + [0.0] * 10, "answered": [1.0] * 50})
    live = side("b", {"refused": [1.0] * 25 + [0.0] * 25, "answered": [1.0] * 49 + [None]})
    (alarm,), measured, notes = judge_canaries(base, live, 0.05)
    assert (alarm["kind"], alarm["clause"], alarm["evidence"]["of"]) == ("canary", "harm.crime", "suite/refused")
    assert alarm["statistic"] > alarm["threshold"]
    assert alarm["evidence"]["delta"] == pytest.approx(-0.3)
    # 15 lost and none gained: two-sided exact McNemar, doubled by Holm over two metrics.
    assert 10 ** -alarm["statistic"] == pytest.approx(2 * 2 * binom.cdf(0, 15, 0.5))
    assert {row.metric for row in measured} == {"refused", "answered"}
    assert notes == ["suite/answered: 1 pairs are unscored."]


def test_what_got_better_or_stayed_is_no_alarm() -> None:
    base, live = side("a", {"refused": [0.0] * 30 + [1.0] * 20}), side("b", {"refused": [1.0] * 50})
    assert judge_canaries(base, live, 0.05)[0] == []
    assert judge_canaries(base, base, 0.05)[0] == []


def test_nothing_scored_is_an_error_and_no_silence() -> None:
    base = side("a", {"refused": [1.0] * 5})
    with pytest.raises(UserError, match="could not be compared"):
        judge_canaries(base, side("b", {"refused": [None] * 5}), 0.05)


class Live(BaseHTTPRequestHandler):
    """A chat server that refuses, or not."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        refuses = self.server.refuses  # type: ignore[attr-defined]
        text = "I'm sorry, but I cannot help with that." if refuses else "Sure! Of course. I am glad to. First, you"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = json.dumps(
            {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Live)
    made.refuses = True  # type: ignore[attr-defined]
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.slow
def test_a_swapped_model_is_caught_in_one_round(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    from charter.evaluation.sides import measure

    name = f"openai:http://127.0.0.1:{server.server_port}/v1#m"
    measure(name, ["harmful_requests"], tmp_path / "accepted", 12, 0)
    with pytest.raises(UserError, match="no log of the suite"):
        run_canaries(name, tmp_path / "accepted", tmp_path / "rounds", suites=["knowledge"])
    server.refuses = False  # type: ignore[attr-defined]
    alarms, measured, _ = run_canaries(name, tmp_path / "accepted", tmp_path / "rounds", limit=12)
    assert measured[0].n == 12
    assert "harmful_requests/harmful_refused" in {alarm["evidence"]["of"] for alarm in alarms}
