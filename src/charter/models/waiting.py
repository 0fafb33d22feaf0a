"""How long to wait before a server is asked again."""

from __future__ import annotations

import random

BACKOFF_SECONDS = 0.5
LONGEST_SECONDS = 30.0


def pause_seconds(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait after the attempt of that number (from 0): what the server asked for, where it said so as a
    number; else twice as long each time, scattered by a quarter. Never more than LONGEST_SECONDS.

    retry_after: the answer's header; None where there was no answer.
    """
    try:
        wait = max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        wait = None
    if wait is None:
        wait = BACKOFF_SECONDS * 2**attempt * random.uniform(0.75, 1.25)
    return min(LONGEST_SECONDS, wait)
