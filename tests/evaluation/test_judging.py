"""The batching judge: batches, one judgement for equal rows, failures that stay unscored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from charter.evaluation.judging import BATCH, BatchingJudge
from charter.records import Exchange, Score, user_prompt


class Lengths:
    """A judge whose score is the completion's length; fails when told to."""

    name = "lengths"

    def __init__(self, error: Exception | None = None, drop: bool = False) -> None:
        self.batches: list[int] = []
        self._error, self._drop = error, drop

    def score(self, rows: Sequence[Exchange]) -> list[Score]:
        self.batches.append(len(rows))
        if self._error is not None:
            raise self._error
        return [Score(row.id, self.name, "any", len(row.completion) / 1000) for row in rows[self._drop :]]


def rows(count: int) -> list[Exchange]:
    return [Exchange(str(i), user_prompt("p"), "x" * i) for i in range(count)]


def ask(judge: Lengths, exchanges: Sequence[Exchange]) -> list[Score]:
    batching = BatchingJudge(lambda: judge, "lengths")

    async def gather() -> list[Score]:
        return list(await asyncio.gather(*(batching.score(row) for row in exchanges)))

    return asyncio.run(gather())


def test_many_at_once_in_full_batches() -> None:
    judge = Lengths()
    scores = ask(judge, rows(2 * BATCH + 5))
    assert judge.batches == [BATCH, BATCH, 5]
    assert [score.score for score in scores] == [i / 1000 for i in range(2 * BATCH + 5)]


def test_equal_rows_are_judged_once() -> None:
    judge = Lengths()
    scores = ask(judge, rows(3) * 4)
    assert judge.batches == [3]
    assert scores[:3] * 4 == scores


@pytest.mark.parametrize("judge", [Lengths(error=TimeoutError("too slow")), Lengths(drop=True)])
def test_failure_is_unscored_never_a_verdict(judge: Lengths) -> None:
    scores = ask(judge, rows(5))
    assert [score.id for score in scores] == ["0", "1", "2", "3", "4"]
    assert all(
        score.label is None and score.score is None and "the judge failed" in (score.unscored or "") for score in scores
    )


def test_one_judge_serves_several_evaluations() -> None:
    judge = Lengths()
    batching = BatchingJudge(lambda: judge, "lengths")
    for _ in range(2):
        assert asyncio.run(batching.score(rows(2)[1])).score == 0.001
    assert judge.batches == [1, 1]
