"""Bodies in and out, in bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from charter.server.wire import Refused


async def read_body(request: Request, largest: int, seconds: float) -> bytes:
    """The body, at most so long and within so many seconds. Raises Refused."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > largest:
        raise Refused(413, f"The body is larger than {largest} bytes.", "too_large")

    async def read() -> bytes:
        found = bytearray()
        async for chunk in request.stream():
            found += chunk
            if len(found) > largest:
                raise Refused(413, f"The body is larger than {largest} bytes.", "too_large")
        return bytes(found)

    try:
        return await asyncio.wait_for(read(), seconds)
    except TimeoutError:
        raise Refused(408, f"The body did not come within {seconds:g} seconds.", "timeout") from None
    except ClientDisconnect:
        raise Refused(400, "The client went away.", "disconnected") from None


def json_response(body: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, or bytes as they came. ASCII alone, so that no character can break it."""
    kept = {name: value for name, value in (headers or {}).items() if name.lower() != "content-length"}
    if isinstance(body, bytes):
        return Response(body, status, kept)
    return Response(json.dumps(body), status, {**kept, "content-type": "application/json"})
