"""The application: routes of the OpenAI protocol with the guard around them, and those for who runs it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

from charter.server.answers import check_prompts, checked_answer, refused_answer, refused_stream
from charter.server.asked import Asked, asked_chat, asked_text
from charter.server.audit import Audit
from charter.server.body import json_response, read_body
from charter.server.events import checked_stream
from charter.server.guarding import Guarding
from charter.server.holdback import Pace
from charter.server.keys import Key, Role, holder
from charter.server.metrics import Metrics
from charter.server.request import Handled, refusal_of
from charter.server.upstream import Upstream, UpstreamFailed
from charter.server.wire import Refused, error_body, parsed

_PREFIX = "/v1"


@dataclass(frozen=True)
class Setup:
    """All that a server is made of.

    keys: whoever has one of them may ask; without any, everybody who reaches the port.  refusals: by clause, what is
    said in place of a stopped text.  shadow: decide and record, and keep nothing back.  largest: bytes of a body.
    decode: token ids to text, for prompts of token ids.
    """

    upstream: Upstream
    guarding: Guarding
    keys: Sequence[Key] = ()
    audit: Audit | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    shadow: bool = False
    pace: Pace = field(default_factory=Pace)
    largest: int = 8 * 2**20
    body_seconds: float = 30.0
    decode: Callable[[Sequence[int]], str] | None = None
    reload: Callable[[], Awaitable[None]] | None = None


def build_app(setup: Setup) -> FastAPI:
    """The server as an ASGI application."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await setup.upstream.close()
        if setup.audit is not None:
            setup.audit.close()

    app = FastAPI(title="charter guard", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Counted, metrics=metrics)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(UpstreamFailed, _upstream_failed)
    app.add_exception_handler(OSError, _not_recorded)
    _add_completions(app, setup, metrics)
    _add_passed_on(app, setup)
    _add_operations(app, setup, metrics)
    return app


def _add_completions(app: FastAPI, setup: Setup, metrics: Metrics) -> None:
    async def complete(request: Request, ask: Callable[[dict[str, Any]], Asked], path: str) -> Response:
        caller = allowed(request, setup.keys, ("client", "reviewer", "admin"))
        asked = ask(parsed(await read_body(request, setup.largest, setup.body_seconds)))
        model = str(asked.body.get("model", ""))
        handled = Handled(setup.audit, metrics, caller, path, model, setup.shadow)
        stop, asked = await check_prompts(asked, setup.guarding, handled)
        streams = asked.body.get("stream") is True
        if stop is not None:
            text = refusal_of(stop, setup.refusals)
            if streams:
                return _stream(refused_stream(asked, handled, text), handled)
            return json_response(refused_answer(asked, handled, text), 200, handled.headers())
        if streams:
            return await _streamed(request, setup, asked, handled, path)
        answer = await setup.upstream.ask("POST", path, asked.body, request.headers)
        if answer.status >= 400:
            return json_response(answer.body, answer.status, {**answer.headers, **handled.headers()})
        checked = await checked_answer(asked, answer, setup.guarding, handled, setup.refusals)
        return json_response(checked, answer.status, handled.headers())

    @app.post(_PREFIX + "/chat/completions")
    async def chat(request: Request) -> Response:
        return await complete(request, asked_chat, "/chat/completions")

    @app.post(_PREFIX + "/completions")
    async def text(request: Request) -> Response:
        return await complete(request, lambda body: asked_text(body, setup.decode), "/completions")


async def _streamed(request: Request, setup: Setup, asked: Asked, handled: Handled, path: str) -> Response:
    context = setup.upstream.stream(path, asked.body, request.headers)
    stream = await context.__aenter__()
    if stream.events is None:
        await context.__aexit__(None, None, None)
        assert stream.instead is not None
        return json_response(
            stream.instead.body, stream.instead.status, {**stream.instead.headers, **handled.headers()}
        )

    async def chunks() -> AsyncIterator[bytes]:
        try:
            async for chunk in checked_stream(asked, stream, setup.guarding, handled, setup.pace):
                yield chunk
        finally:
            # Also when the client has gone: the model is not to go on for nobody.
            await context.__aexit__(None, None, None)

    return _stream(chunks(), handled)


def _add_passed_on(app: FastAPI, setup: Setup) -> None:
    @app.get(_PREFIX + "/models")
    @app.get(_PREFIX + "/models/{name:path}")
    async def models(request: Request) -> Response:
        allowed(request, setup.keys, ("client", "reviewer", "admin"))
        answer = await setup.upstream.ask("GET", request.url.path.removeprefix(_PREFIX), None, request.headers)
        return json_response(answer.body, answer.status, answer.headers)

    @app.post(_PREFIX + "/embeddings")
    async def embeddings(request: Request) -> Response:
        allowed(request, setup.keys, ("client", "reviewer", "admin"))
        body = await read_body(request, setup.largest, setup.body_seconds)
        parsed(body)
        answer = await setup.upstream.ask("POST", "/embeddings", body, request.headers)
        return json_response(answer.body, answer.status, answer.headers)


def _add_operations(app: FastAPI, setup: Setup, metrics: Metrics) -> None:
    @app.get("/health")
    async def health() -> Response:
        return json_response({"status": "alive"}, 200)

    @app.get("/ready")
    async def ready() -> Response:
        up = await setup.upstream.alive()
        stack = setup.guarding.stack
        layers = {"input": stack.layers("input"), "output": stack.layers("output")}
        return json_response({"ready": up, "upstream": up, "layers": layers}, 200 if up else 503)

    @app.get("/metrics")
    async def scrape(request: Request) -> Response:
        allowed(request, setup.keys, ("reviewer", "admin"))
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    if setup.reload is not None:
        again = setup.reload

        @app.post("/admin/reload")
        async def reload(request: Request) -> Response:
            allowed(request, setup.keys, ("admin",))
            await again()
            return json_response({"status": "reloaded"}, 200)


def allowed(request: Request, keys: Sequence[Key], roles: tuple[Role, ...]) -> str:
    """The caller's name. Raises Refused for a key that is nobody's or may not do this."""
    if not keys:
        return ""
    key = holder(keys, request.headers.get("authorization"))
    if key is None:
        raise Refused(401, "Give a key of this guard: `Authorization: Bearer …`.", "invalid_api_key")
    if key.role not in roles:
        raise Refused(
            403, f'The key "{key.name}" has the role {key.role}; this needs {" or ".join(roles)}.', "forbidden"
        )
    return key.name


def _stream(chunks: AsyncIterator[bytes], handled: Handled) -> Response:
    headers = {**handled.headers(), "cache-control": "no-cache"}
    return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return json_response(error_body(error.message, error.code), error.status)


async def _upstream_failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, UpstreamFailed)
    return json_response(error_body(error.message, "upstream_failed"), error.status)


async def _not_recorded(_: Request, __: Exception) -> Response:
    return json_response(error_body("The decision could not be recorded, so nothing is answered.", "not_recorded"), 503)


class _Counted:
    """Counts every answer with its seconds; a stream's end when its last byte is sent."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.under_way.track_inprogress():
            try:
                await self._app(scope, receive, noted)
            finally:
                known = scope.get("route")
                path = getattr(known, "path", "other")
                self._metrics.answered(path, status, time.monotonic() - begun)
