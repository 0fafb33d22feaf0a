"""A reward behind HTTP: rows out, rewards in, in the shape of `charter reward score`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from charter.models.waiting import pause_seconds
from charter.ports import Progress
from charter.records import Exchange, Rewarded


class EndpointReward:
    """A `Reward` that POSTs `{"rows": [{id, messages, completion}]}` and reads `{"rows": [{id, reward}]}`.

    A row may come back with `unscored` and the reason. 408, 429, 5xx, lost connections and time-outs are tried again
    with growing waits (or the server's Retry-After); what still fails leaves its batch unscored, with the reason. A key
    in CHARTER_REWARD_KEY is sent as a bearer token.
    """

    def __init__(self, url: str, *, batch: int = 32, attempts: int = 5, timeout_seconds: float = 120.0) -> None:
        self.name = url
        self._batch, self._attempts, self._timeout = batch, attempts, timeout_seconds

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One per row, in order."""
        key = os.environ.get("CHARTER_REWARD_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        found: list[Rewarded] = []
        with httpx.Client(timeout=self._timeout, headers=headers) as client:
            for start in range(0, len(rows), self._batch):
                found += self._ask(client, rows[start : start + self._batch])
                if progress is not None:
                    progress(len(found), len(rows))
        return found

    def _ask(self, client: httpx.Client, rows: Sequence[Exchange]) -> list[Rewarded]:
        body = {"rows": [_asked(row) for row in rows]}
        reason = ""
        for attempt in range(self._attempts):
            try:
                answer = client.post(self.name, json=body)
            except httpx.TransportError as error:
                reason, asked = f"{type(error).__name__}: {error}", None
            else:
                if answer.is_success:
                    return _read(answer, rows)
                reason, asked = f"HTTP {answer.status_code}: {answer.text[:200]}", answer.headers.get("retry-after")
                if answer.status_code not in (408, 429) and answer.status_code < 500:
                    break
            if attempt + 1 < self._attempts:
                time.sleep(pause_seconds(attempt, asked))
        return [Rewarded(row.id, unscored=f"the reward endpoint failed: {reason}") for row in rows]


def _asked(row: Exchange) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.content} for message in row.prompt]
    return {"id": row.id, "messages": messages, "completion": row.completion}


def _read(answer: httpx.Response, rows: Sequence[Exchange]) -> list[Rewarded]:
    try:
        by_id = {str(one["id"]): one for one in answer.json()["rows"]}
    except (ValueError, KeyError, TypeError) as error:
        reason = f'the reward endpoint\'s answer is not {{"rows": [{{"id", "reward"}}]}} ({type(error).__name__})'
        return [Rewarded(row.id, unscored=reason) for row in rows]
    return [_rewarded(row.id, by_id.get(row.id)) for row in rows]


def _rewarded(identity: str, found: Mapping[str, Any] | None) -> Rewarded:
    if found is None:
        return Rewarded(identity, unscored="the reward endpoint did not answer this row")
    if found.get("unscored"):
        return Rewarded(identity, unscored=str(found["unscored"]))
    value = found.get("reward")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return Rewarded(identity, unscored=f"the reward endpoint gave {str(value)[:60]!r}, which is no finite number")
    return Rewarded(identity, float(value))
