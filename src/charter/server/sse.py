"""Server-sent events as the OpenAI protocol uses them: lines of `data:`, an empty line after each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

DONE: Final = "[DONE]"
_LONGEST: Final = 4 * 2**20


class BrokenStream(ValueError):
    """What came is no stream of events, or an event is longer than any model's."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event, however the bytes were cut. Raises BrokenStream for what is no UTF-8 or never ends."""
    pending = b""
    data: list[str] = []
    async for chunk in chunks:
        pending += chunk
        if len(pending) > _LONGEST:
            raise BrokenStream(f"an event is longer than {_LONGEST} bytes")
        *lines, pending = pending.replace(b"\r\n", b"\n").split(b"\n")
        for raw in lines:
            line = _decoded(raw)
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line and data:
                yield "\n".join(data)
                data = []
    line = _decoded(pending.rstrip(b"\r"))
    if line.startswith("data:"):
        data.append(line[5:].removeprefix(" "))
    if data:
        yield "\n".join(data)


def event(data: dict[str, Any] | str) -> bytes:
    """One event on the wire."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BrokenStream("the stream is not UTF-8") from None
