"""What a hostile world does to a server: nonsense by the thousand, hundreds at once, clients that dawdle."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from layers import SECRET, stack
from upstreams import Model, Served, finish

from charter.server.app import Setup, build_app
from charter.server.audit import Audit, verify
from charter.server.guarding import Guarding
from charter.server.holdback import Pace
from charter.server.upstream import HttpUpstream

pytestmark = pytest.mark.slow


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Model, str]]:
    model = Model()
    behind = Served(model.app)
    setup = Setup(
        HttpUpstream(behind.url + "/v1", own_key=False),
        Guarding(stack()),
        audit=Audit(tmp_path / "audit"),
        pace=Pace(12, 16, 4),
        largest=200_000,
        body_seconds=1.0,
    )
    before = Served(build_app(setup))
    yield model, before.url
    before.stop()
    behind.stop()


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def nonsense(drawn: random.Random) -> bytes:
    """A body that is nearly right, or not at all."""
    right = json.dumps(asked("Hi. " * drawn.randrange(1, 20), stream=drawn.random() < 0.3, n=drawn.randrange(1, 3)))
    body = bytearray(right.encode())
    for _ in range(drawn.randrange(1, 6)):
        place = drawn.randrange(len(body) + 1)
        kind = drawn.randrange(4)
        if kind == 0:
            body[place:place] = bytes(drawn.randrange(256) for _ in range(drawn.randrange(1, 8)))
        elif kind == 1:
            del body[place : place + drawn.randrange(1, 12)]
        elif kind == 2:
            body[place:place] = drawn.choice([b'"\\ud800"', b"[[[[", b"null", b"1e999", b"\x00", b"{}", b"-0", b"NaN"])
        else:
            depth = drawn.randrange(1, 3000)
            body[place:place] = b"[" * depth + b"]" * depth
    return bytes(body)


def test_ten_thousand_bodies_of_nonsense_do_not_stop_it(guarded: tuple[Model, str], tmp_path: Path) -> None:
    model, url = guarded
    model.says, model.pieces = f"It is {SECRET}.", ["It is ", SECRET, finish()]
    drawn = random.Random(5)

    async def run() -> list[int]:
        seen: list[int] = []
        limit = asyncio.Semaphore(32)
        async with httpx.AsyncClient(timeout=60) as client:

            async def one() -> None:
                async with limit:
                    answer = await client.post(url + "/v1/chat/completions", content=nonsense(drawn))
                    assert SECRET not in answer.text
                    # A 500 of the model's own server is passed on, with the guard's id.
                    assert answer.status_code != 500 or "x-charter-id" in answer.headers
                    seen.append(answer.status_code)

            await asyncio.gather(*(one() for _ in range(10_000)))
        return seen

    seen = asyncio.run(run())
    assert len(seen) == 10_000
    assert set(seen) <= {200, 400, 413, 422, 500, 502}
    assert seen.count(400) > 5000
    model.says = "Well."
    answer = httpx.post(url + "/v1/chat/completions", json=asked("Hi."))
    assert answer.json()["choices"][0]["message"]["content"] == "Well."
    assert verify(tmp_path / "audit").wrong == ()


def test_five_hundred_at_once_all_get_their_own_answer(guarded: tuple[Model, str]) -> None:
    model, url = guarded
    model.pieces = ["Some words, and ", 0.2, "a sentence. ", "The end.", finish()]

    async def run() -> list[str]:
        limits = httpx.Limits(max_connections=500)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            bad = [i % 5 == 0 for i in range(500)]
            bodies = [asked(SECRET if one else f"Hi {i}.", stream=True) for i, one in enumerate(bad)]
            answers = await asyncio.gather(*(client.post(url + "/v1/chat/completions", json=b) for b in bodies))
            return [answer.text for answer in answers]

    for number, text in enumerate(asyncio.run(run())):
        assert ('"content_filter"' in text) == (number % 5 == 0)
        assert text.endswith("data: [DONE]\n\n")


def test_a_body_that_dawdles_is_cut_off_and_others_are_served(guarded: tuple[Model, str]) -> None:
    _, url = guarded
    host, port = url.removeprefix("http://").split(":")
    slow = []
    for _ in range(50):
        one = socket.create_connection((host, int(port)))
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
        slow.append(one)
    begun = time.monotonic()
    assert httpx.post(url + "/v1/chat/completions", json=asked("Hi.")).status_code == 200
    assert time.monotonic() - begun < 2
    slow[0].settimeout(10)
    assert b"408" in slow[0].recv(100)
    for one in slow:
        one.close()


def test_a_full_disk_keeps_the_answer_back(guarded: tuple[Model, str], tmp_path: Path) -> None:
    model, _ = guarded
    model.says = "Well."
    audit = Audit(tmp_path / "full")
    audit._file.close()
    audit._file = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    setup = Setup(HttpUpstream("http://127.0.0.1:9/v1", own_key=False), Guarding(stack()), audit=audit)
    full = Served(build_app(setup))
    answer = httpx.post(full.url + "/v1/chat/completions", json=asked("Hi."))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_recorded")
    full.stop()
