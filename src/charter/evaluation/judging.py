"""One judge, asked in batches from many samples at once, on a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from charter.ports import Judge
from charter.records import Exchange, Score

BATCH = 64
QUIET_SECONDS = 0.25
"""How long nothing must arrive before a batch that is not full is judged."""


class BatchingJudge:
    """Collects exchanges and has them judged together: a batch of 64 costs little more than one.

    The judge is made on first use (loading it may take seconds) and asked off the event loop, one batch at a time.
    Equal exchanges are judged once. A judge that fails leaves its batch unscored, with the reason.
    """

    def __init__(self, make: Callable[[], Judge], name: str) -> None:
        self.name = name
        self._make = make
        self._judge: Judge | None = None
        self._known: dict[Exchange, asyncio.Future[Score]] = {}
        self._pending: list[Exchange] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Lock | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Make the judge now. Raises what making it raises, so that a missing part is known before work starts."""
        if self._judge is None:
            self._judge = self._make()

    async def score(self, exchange: Exchange) -> Score:
        """The judge's word on one exchange; waits until its batch has been judged."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Futures belong to one loop; Inspect makes a new one for each evaluation.
            self._loop, self._turn, self._known, self._pending = loop, asyncio.Lock(), {}, []
        future = self._known.get(exchange)
        if future is None:
            future = self._known[exchange] = loop.create_future()
            self._pending.append(exchange)
            if self._timer is not None:
                self._timer.cancel()
            if len(self._pending) >= BATCH:
                self._flush()
            else:
                self._timer = loop.call_later(QUIET_SECONDS, self._flush)
        return await asyncio.shield(future)

    def _flush(self) -> None:
        batch, self._pending = self._pending, []
        if batch and self._loop is not None:
            task = self._loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[Exchange]) -> None:
        assert self._turn is not None
        async with self._turn:
            try:
                scores = await asyncio.to_thread(self._ask, batch)
            except Exception as error:
                reason = f"the judge failed: {type(error).__name__}: {error}"
                scores = [Score(row.id, self.name, unscored=reason) for row in batch]
        for row, score in zip(batch, scores, strict=True):
            future = self._known[row]
            if not future.done():
                future.set_result(score)

    def _ask(self, batch: list[Exchange]) -> list[Score]:
        self.load()
        assert self._judge is not None
        scores = self._judge.score(batch)
        if [score.id for score in scores] != [row.id for row in batch]:
            raise ValueError(f"{len(scores)} scores came back for {len(batch)} rows, or in another order")
        return scores
