"""How likely texts are, by a tiny real model against the model's own logits, and what a log keeps of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny import one_by_one

from charter.errors import Unfinished
from charter.feedback.asking import AnswerLog
from charter.feedback.likelihood import LocalLikelihood, LoggedLikelihood, Texts
from charter.models.endpoint import Passing
from charter.models.loading import LocalModel, load_model
from charter.models.template import chat_format
from charter.records import user_prompt
from charter.training.layout import Group

ROWS = [
    Texts(user_prompt("Say it.", "Be kind."), ("Gladly.", "No, never"), (True, False)),
    Texts(user_prompt("Say it.", "Be rude."), ("Gladly.", "No, never"), (True, False)),
    Texts(user_prompt("Is it A or B?"), ("A", "B"), (False, False)),
]


@pytest.fixture(scope="module")
def local(tiny_base: Path) -> LocalModel:
    return load_model(str(tiny_base), "float32")


def test_log_probs_are_the_models_own(local: LocalModel) -> None:
    format_ = chat_format(local.tokenizer)
    found = LocalLikelihood(local).logprobs(ROWS)
    for row, sums in zip(ROWS, found, strict=True):
        for text, whole, value in zip(row.texts, row.finished, sums, strict=True):
            ids = format_.completion_ids(row.prompt, text, finished=whole)
            wanted = one_by_one(local.model, [Group("x", format_.prompt_ids(row.prompt), (ids,))]).sum()
            assert value == pytest.approx(wanted.item(), abs=1e-3)


def test_what_cannot_be_scored_says_why_and_the_rest_is_scored(local: LocalModel) -> None:
    long = Texts(user_prompt("word " * 300), ("A", "B"), (False, False))
    empty = Texts(user_prompt("Say it."), ("", "B"), (False, False))
    too_long, fine, nothing = LocalLikelihood(local).logprobs([long, ROWS[2], empty])
    assert too_long == "longer than the model's context of 512 tokens"
    assert nothing == "an empty text"
    assert len(fine) == 2


def test_a_log_answers_for_the_model(local: LocalModel, tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "log")
    first = LoggedLikelihood(LocalLikelihood(local), "d", log).logprobs(ROWS)

    class Gone:
        name = "gone"

        def logprobs(self, _rows: object, _progress: object = None) -> list[object]:
            raise AssertionError("asked again")

    assert LoggedLikelihood(Gone(), "d", AnswerLog(tmp_path / "log")).logprobs(ROWS) == first  # type: ignore[arg-type]


def test_infinities_survive_the_log_and_reasons_are_not_kept(tmp_path: Path) -> None:
    class Half:
        name = "half"
        calls = 0

        def logprobs(self, rows: list[Texts], _progress: object = None) -> list[object]:
            self.calls += len(rows)
            return [(-math.inf, -1.0) if "A or B" in row.prompt[0].content else "down" for row in rows]

    half = Half()
    log = AnswerLog(tmp_path / "log")
    model = LoggedLikelihood(half, "d", log)  # type: ignore[arg-type]
    assert model.logprobs(ROWS) == ["down", "down", (-math.inf, -1.0)]
    assert "Infinity" not in log.path.read_text()
    assert model.logprobs(ROWS)[2] == (-math.inf, -1.0)
    assert half.calls == 5


def test_a_server_that_goes_down_stops_the_stage_and_what_it_answered_is_kept(tmp_path: Path) -> None:
    class Down:
        name = "down"

        def logprobs(self, rows: list[Texts], _progress: object = None) -> list[object]:
            return [(-1.0, -2.0) if number == 0 else Passing("HTTP 503: busy") for number in range(len(rows))]

    log = AnswerLog(tmp_path / "log")
    with pytest.raises(Unfinished, match=r"2 of the last 3 questions were not answered \(HTTP 503: busy\)"):
        LoggedLikelihood(Down(), "d", log).logprobs(ROWS)  # type: ignore[arg-type]
    # The first is answered from the log now, and what fails is the first of the rest.
    with pytest.raises(Unfinished, match="1 of the last 2"):
        LoggedLikelihood(Down(), "d", AnswerLog(tmp_path / "log")).logprobs(ROWS)  # type: ignore[arg-type]
