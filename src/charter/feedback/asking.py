"""Asking once: every answer is appended to a log as it comes, and is never asked for again.

The log is JSON lines, keyed by the content of the question: the model's weights (an endpoint: its name), the
conversation, the sampling. A run that was killed, or whose endpoint went down, goes on where it stopped; answers that
failed are not in the log and are asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.errors import Unfinished, UserError
from charter.ports import Progress, TextModel
from charter.records import Completion, Conversation, Sampling, as_row

MOST_FAILED = 0.05
"""A larger share of questions that the server could not take now, and may take later, stops the stage."""


class AnswerLog:
    """An append-only file of answers by key. One process at a time writes it (the run folder is locked)."""

    def __init__(self, path: Path) -> None:
        """Read what is there. A last line that a kill cut short is removed.

        Raises UserError for a file that is no log.
        """
        self.path = path
        self._known: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = entry["answer"]
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f"{path}, line {number}: not a line of an answer log. Remove the file, and its questions are "
                    "asked again."
                ) from None

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Any:
        """The answer of that key, or None."""
        return self._known.get(key)

    def answers(self) -> Iterable[Any]:
        """Everything that is in it."""
        return self._known.values()

    def add(self, answers: Mapping[str, Any]) -> None:
        """Append answers by key, on disk when this returns."""
        fresh = {key: answer for key, answer in answers.items() if key not in self._known}
        if not fresh:
            return
        with self.path.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps({"key": k, "answer": a}, ensure_ascii=False) + "\n" for k, a in fresh.items())
            out.flush()
            os.fsync(out.fileno())
        self._known.update(fresh)


def question_key(*parts: Any) -> str:
    """sha256 of JSON-ready parts."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


class LoggedModel:
    """ports.TextModel over another one, whose answers it keeps in a log.

    digest: of the model's weights, or its name: what an answer depends on beside the question.
    chunk: so many questions are asked before their answers are on disk.
    `counts` says what came of the questions; tokens are those of all answers, whichever try they were given in.
    """

    def __init__(self, model: TextModel, digest: str, log: AnswerLog, chunk: int = 256) -> None:
        self._model, self._digest, self._log, self._chunk = model, digest, log, chunk
        self.counts: Counter[str] = Counter()
        self._counted: set[str] = set()

    @property
    def name(self) -> str:
        return self._model.name

    def generate(
        self, prompts: Sequence[Conversation], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """One list of sampling.n completions per prompt; an error where a question could not be answered.

        Raises Unfinished when the server is down: nothing of a chunk was answered, or more than 5% of all.
        """
        how = as_row(sampling)
        keys = [question_key(self._digest, [as_row(turn) for turn in prompt], how) for prompt in prompts]
        wanted = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if self._log.get(key) is None}
        found = {key: [_answer(row) for row in self._log.get(key)] for key in keys if key not in wanted}
        self._count(found, "answered before")
        todo = list(wanted.items())
        done, total = (len(prompts) - len(todo)) * sampling.n, len(prompts) * sampling.n
        for start in range(0, len(todo), self._chunk):
            part = todo[start : start + self._chunk]

            def report(now: int, _: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + now, total)

            answers = self._model.generate([prompt for _, prompt in part], sampling, report)
            fresh = dict(zip((key for key, _ in part), answers, strict=True))
            self._log.add({key: [_row(one) for one in row] for key, row in fresh.items() if not _failed(row)})
            self._count(fresh, "answered")
            found |= fresh
            done += len(part) * sampling.n
            self._check_up(fresh)
        self._check_few_failed([found[key] for key, _ in todo])
        return [found[key] for key in keys]

    def _count(self, rows: Mapping[str, Sequence[Completion]], how: str) -> None:
        for key, row in rows.items():
            if key in self._counted:
                continue
            self._counted.add(key)
            self.counts["failed" if _failed(row) else how] += 1
            self.counts["prompt tokens"] += sum(one.prompt_tokens for one in row)
            self.counts["completion tokens"] += sum(_tokens(one) for one in row)
        self.counts = +self.counts

    def _check_up(self, fresh: Mapping[str, Sequence[Completion]]) -> None:
        if all(_passing(row) for row in fresh.values()):
            self._stop(len(fresh), list(fresh.values()))

    def _check_few_failed(self, rows: Sequence[Sequence[Completion]]) -> None:
        passing = [row for row in rows if _passing(row)]
        if len(passing) > MOST_FAILED * len(rows):
            self._stop(len(rows), passing)

    def _stop(self, asked: int, failed: Sequence[Sequence[Completion]]) -> None:
        reason = next(one.error or "" for row in failed for one in row if one.passing)
        raise unfinished(self.name, len(failed), asked, reason, self._log)


def unfinished(name: str, failed: int, asked: int, reason: str, log: AnswerLog) -> Unfinished:
    """The error of a stage that a server's absence ends."""
    return Unfinished(
        f"{name}: {failed} of the last {asked} questions were not answered ({reason}). See that the server is up, then "
        f"run the same command again: {len(log)} answers are kept in {log.path} and are not asked for again."
    )


def _failed(row: Sequence[Completion]) -> bool:
    return any(one.finish == "error" for one in row)


def _passing(row: Sequence[Completion]) -> bool:
    return any(one.passing for one in row)


def _tokens(one: Completion) -> int:
    return one.completion_tokens or len(one.tokens)


def _row(one: Completion) -> dict[str, Any]:
    """What is kept of a completion: token ids and their log-probs are not, nothing here reads them."""
    kept: dict[str, Any] = {"text": one.text, "finish": one.finish, "completion_tokens": _tokens(one)}
    return {**kept, "prompt_tokens": one.prompt_tokens} if one.prompt_tokens else kept


def _answer(row: Mapping[str, Any]) -> Completion:
    return Completion(**row)
