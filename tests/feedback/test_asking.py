"""Answers are asked for once: what a log holds, what a killed or failing run leaves, what is asked again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from charter.errors import Unfinished, UserError
from charter.feedback.asking import AnswerLog, LoggedModel
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling, user_prompt

HOW = Sampling(8, 0.5, n=2, seed=3)
PROMPTS = [user_prompt(f"question {i}") for i in range(10)]


class Server:
    """Answers with the question and its own count; after `up` questions it is down; "odd" ones it never takes."""

    name = "server"

    def __init__(self, up: int = 10**6) -> None:
        self.asked: list[str] = []
        self.up = up

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        out = []
        for *_, turn in prompts:
            self.asked.append(turn.content)
            if len(self.asked) > self.up:
                one = Completion("", finish="error", error="connection refused", passing=True)
            elif turn.content.startswith("odd"):
                one = Completion("", finish="error", error="HTTP 400: too long")
            else:
                one = Completion(f"to {turn.content}", prompt_tokens=3, completion_tokens=2)
            out.append([one] * sampling.n)
        if progress:
            progress(len(prompts) * sampling.n, len(prompts) * sampling.n)
        return out


def texts(answers: Sequence[Sequence[Completion]]) -> list[str]:
    return [one.text for row in answers for one in row]


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    first = LoggedModel(Server(), "digest", AnswerLog(tmp_path / "log"), chunk=3)
    said = first.generate(PROMPTS, HOW)
    again = Server()
    seen: list[tuple[int, int]] = []
    second = LoggedModel(again, "digest", AnswerLog(tmp_path / "log"), chunk=3)
    assert texts(second.generate(PROMPTS, HOW, lambda *now: seen.append(now))) == texts(said)
    assert texts(said)[:3] == ["to question 0", "to question 0", "to question 1"]
    assert again.asked == []
    assert first.counts == {"answered": 10, "prompt tokens": 60, "completion tokens": 40}
    assert second.counts == {"answered before": 10, "prompt tokens": 60, "completion tokens": 40}


@pytest.mark.parametrize(
    "change",
    [{"digest": "other"}, {"sampling": replace(HOW, seed=4)}, {"prompts": [user_prompt("question 0", "Be brief.")]}],
    ids=["weights", "sampling", "system message"],
)
def test_another_question_is_another_question(tmp_path: Path, change: dict[str, object]) -> None:
    log = AnswerLog(tmp_path / "log")
    LoggedModel(Server(), "digest", log).generate(PROMPTS[:1], HOW)
    server = Server()
    model = LoggedModel(server, str(change.get("digest", "digest")), log)
    model.generate(change.get("prompts", PROMPTS[:1]), change.get("sampling", HOW))  # type: ignore[arg-type]
    assert len(server.asked) == 1


def test_a_server_that_goes_down_stops_the_stage_and_the_rest_is_asked_later(tmp_path: Path) -> None:
    down = Server(up=7)
    with pytest.raises(Unfinished, match=r"connection refused.*7 answers are kept") as caught:
        LoggedModel(down, "d", AnswerLog(tmp_path / "log"), chunk=3).generate(PROMPTS, HOW)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    up = Server()
    answers = LoggedModel(up, "d", AnswerLog(tmp_path / "log"), chunk=3).generate(PROMPTS, HOW)
    assert up.asked == [f"question {i}" for i in (7, 8, 9)]
    assert texts(answers) == [f"to question {i}" for i in range(10) for _ in range(2)]


def test_a_question_that_cannot_be_answered_stays_alone(tmp_path: Path) -> None:
    server = Server()
    model = LoggedModel(server, "d", AnswerLog(tmp_path / "log"), chunk=1)
    answers = model.generate([user_prompt("odd"), *PROMPTS[:2]], HOW)
    assert [row[0].finish for row in answers] == ["error", "stop", "stop"]
    assert model.counts["failed"] == 1
    # It is not in the log: a later run asks it again.
    LoggedModel(again := Server(), "d", AnswerLog(tmp_path / "log")).generate([user_prompt("odd"), *PROMPTS[:2]], HOW)
    assert again.asked == ["odd"]


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    server = Server()
    answers = LoggedModel(server, "d", AnswerLog(tmp_path / "log")).generate([PROMPTS[0]] * 4, HOW)
    assert server.asked == ["question 0"]
    assert len(answers) == 4


def test_a_line_that_a_kill_cut_short_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    LoggedModel(Server(), "d", AnswerLog(path)).generate(PROMPTS[:3], HOW)
    path.write_bytes(path.read_bytes()[:-9])
    server = Server()
    LoggedModel(server, "d", AnswerLog(path)).generate(PROMPTS[:3], HOW)
    assert server.asked == ["question 2"]
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"prompt": "hello"}\n')
    with pytest.raises(UserError, match="line 1: not a line of an answer log"):
        AnswerLog(tmp_path / "log")
