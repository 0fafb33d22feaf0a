"""Who answers behind the guard: a server over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx

from charter.server.sse import events

_NOT_PASSED: Final = frozenset(
    {
        "host", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade",
        "accept-encoding", "content-encoding", "proxy-authorization", "proxy-authenticate", "authorization", "cookie",
    }
)  # fmt: skip


Body = bytes | dict[str, Any] | None


class UpstreamFailed(Exception):
    """The upstream did not answer, or broke off. status: for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Answer:
    """An answer that is not a stream. body: parsed JSON, or the bytes where they are none."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Stream:
    """A stream's events, or the answer that came in its place."""

    events: AsyncIterator[str] | None
    instead: Answer | None = None


class Upstream(Protocol):
    """Whatever speaks the protocol's JSON."""

    async def ask(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> Answer:
        """One whole answer. Raises UpstreamFailed."""
        ...

    def stream(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> Any:
        """An async context with a Stream; leaving it ends the upstream's work. Raises UpstreamFailed."""
        ...

    async def alive(self) -> bool:
        """Whether it can be asked."""
        ...

    async def close(self) -> None:
        """End connections."""
        ...


class HttpUpstream:
    """An OpenAI-compatible server; url is its base with /v1.

    With `own_key` the caller's key is the guard's and is not passed on: CHARTER_UPSTREAM_KEY is sent instead.
    """

    def __init__(self, url: str, *, own_key: bool, stall_seconds: float = 120.0) -> None:
        self.name, self._own_key = url.rstrip("/"), own_key
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
        timeout = httpx.Timeout(stall_seconds, connect=10.0, pool=30.0)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits)

    async def ask(self, method: str, path: str, body: Body, headers: Mapping[str, str]) -> Answer:
        """One whole answer."""
        try:
            answer = await self._client.request(
                method, self.name + path, content=_bytes(body), headers=self._headers(headers)
            )
        except httpx.HTTPError as error:
            raise _failed(error) from None
        return _answer(answer)

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        """A stream; an error of the upstream comes as a whole answer instead."""
        request = self._client.build_request(
            "POST", self.name + path, content=_bytes(body), headers=self._headers(headers)
        )
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _failed(error) from None
        try:
            if answer.is_success and "text/event-stream" in answer.headers.get("content-type", ""):
                yield Stream(self._events(answer))
            else:
                try:
                    await answer.aread()
                except httpx.HTTPError as error:
                    raise _failed(error) from None
                yield Stream(None, _answer(answer))
        finally:
            await answer.aclose()

    async def alive(self) -> bool:
        """Whether it says anything at all to /models."""
        try:
            return (await self._client.get(self.name + "/models", timeout=5.0)).status_code < 500
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """End connections."""
        await self._client.aclose()

    async def _events(self, answer: httpx.Response) -> AsyncIterator[str]:
        try:
            async for data in events(answer.aiter_bytes()):
                yield data
        except httpx.HTTPError as error:
            raise _failed(error) from None

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        found = {name: value for name, value in given.items() if name.lower() not in _NOT_PASSED}
        found["content-type"] = "application/json"
        key = os.environ.get("CHARTER_UPSTREAM_KEY")
        if key:
            found["authorization"] = f"Bearer {key}"
        elif not self._own_key and (theirs := given.get("authorization")):
            found["authorization"] = theirs
        return found


def _bytes(body: Body) -> bytes | None:
    return json.dumps(body).encode() if isinstance(body, dict) else body


def _answer(answer: httpx.Response) -> Answer:
    try:
        body: Any = answer.json()
    except ValueError:
        body = answer.content
    kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "retry-after")}
    return Answer(answer.status_code, body, kept)


def _failed(error: httpx.HTTPError) -> UpstreamFailed:
    if isinstance(error, httpx.TimeoutException):
        return UpstreamFailed(504, "The model behind the guard did not answer in time.")
    return UpstreamFailed(502, f"The model behind the guard cannot be reached or broke off ({type(error).__name__}).")
