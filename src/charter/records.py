"""The records that travel between rooms: frozen, typed, JSONL in and out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from charter.errors import UserError

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Conversation = tuple[Message, ...]


def user_prompt(text: str, system: str | None = None) -> Conversation:
    """A one-turn conversation, with an optional system message before it."""
    head = (Message("system", system),) if system else ()
    return (*head, Message("user", text))


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with one completion to imitate. `weight` scales its loss.

    `earlier_weights`, where there are any, are those of the prompt's own assistant turns, in their order: SFT trains
    these too, but for weights of 0.
    `finished` is False for a completion that a token limit cut: its end is no end of turn, and is not learned as one.
    """

    id: str
    prompt: Conversation
    completion: str
    clauses: tuple[str, ...] = ()
    source: str = ""
    weight: float = 1.0
    finished: bool = True
    earlier_weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rated:
    """A prompt with one completion that was found desirable or not. `weight` scales its loss.

    `finished` is as in `Demonstration`.
    """

    id: str
    prompt: Conversation
    completion: str
    desirable: bool
    clauses: tuple[str, ...] = ()
    source: str = ""
    weight: float = 1.0
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a chosen and a rejected completion; `strength` in (0, 1] is how sure the label is.

    Methods on pairs weigh a pair's loss by its strength. `margin` is by how much the chosen side is better, in the
    units of its source's scores; `chosen_safe` and `rejected_safe` tell harmless sides. None where nobody said.
    `chosen_finished` and `rejected_finished` are as in `Demonstration`.
    """

    id: str
    prompt: Conversation
    chosen: str
    rejected: str
    clauses: tuple[str, ...] = ()
    source: str = ""
    strength: float = 1.0
    rater: str = ""
    chosen_finished: bool = True
    rejected_finished: bool = True
    margin: float | None = None
    chosen_safe: bool | None = None
    rejected_safe: bool | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A prompt with one completion and its scores by name, on whatever scales their source uses; higher is better."""

    id: str
    prompt: Conversation
    completion: str
    scores: Mapping[str, float]
    clauses: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said. `token_logprobs` (nats) are of the distribution really sampled from.

    An endpoint that hides its tokens leaves `tokens` and `token_logprobs` empty and `logprob` None.
    `finish == "error"` carries the reason in `error` and an empty text.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprob: float | None = None
    token_logprobs: tuple[float, ...] = ()
    finish: Finish = "stop"
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt and what was answered: what a judge or a reward looks at."""

    id: str
    prompt: Conversation
    completion: str


@dataclass(frozen=True, slots=True)
class Score:
    """A judge's word on one exchange: `score` in [0, 1] and a label, or the reason why it is unscored."""

    id: str
    judge: str
    label: str | None = None
    score: float | None = None
    unscored: str | None = None


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A reward model's word on one exchange: higher is better; or the reason why it is unscored.

    `heads` are the values of an ensemble's heads, from which `reward` was read.
    """

    id: str
    reward: float | None = None
    heads: tuple[float, ...] = ()
    unscored: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. temperature 0 is greedy. `n` completions a prompt, each with its own random stream."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0
    stop: tuple[str, ...] = field(default=())


def conversation_of(row: Mapping[str, Any], where: str) -> Conversation:
    """The conversation in a row's `messages` (or its `prompt`, a string or a list of messages).

    Raises UserError naming `where` when neither is there or a message has no known role.
    """
    value = row.get("prompt") if row.get("messages") is None else row["messages"]
    if isinstance(value, str):
        if not value.strip():
            raise UserError(f"{where}: the prompt is empty. Give it some text or remove the row.")
        return user_prompt(value)
    if not isinstance(value, list) or not value:
        raise UserError(f'{where}: needs "prompt" (a string) or "messages" (a list of role and content).')
    turns: list[Message] = []
    for turn in value:
        if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant", "tool"):
            raise UserError(f"{where}: every message needs a role (system, user, assistant or tool); got {turn!r}.")
        content = turn.get("content")
        if content is not None and not isinstance(content, str):
            raise UserError(f"{where}: a message's content must be a string; got {str(content)[:60]!r}.")
        turns.append(Message(turn["role"], content or ""))
    return tuple(turns)


def as_row(record: Any) -> dict[str, Any]:
    """A record (frozen dataclass) as a JSON-ready dictionary; tuples become lists."""
    return json.loads(json.dumps(asdict(record)))  # type: ignore[no-any-return]


def demonstration_from(row: Mapping[str, Any]) -> Demonstration:
    """The Demonstration that `as_row` wrote."""
    return Demonstration(**{**_fields(row), "earlier_weights": tuple(row.get("earlier_weights", ()))})


def preference_from(row: Mapping[str, Any]) -> Preference:
    """The Preference that `as_row` wrote."""
    return Preference(**_fields(row))


def rated_from(row: Mapping[str, Any]) -> Rated:
    """The Rated that `as_row` wrote."""
    return Rated(**_fields(row))


def scored_from(row: Mapping[str, Any]) -> Scored:
    """The Scored that `as_row` wrote."""
    return Scored(**_fields(row))


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the records have tuples."""
    return {**row, "prompt": tuple(Message(**m) for m in row["prompt"]), "clauses": tuple(row.get("clauses", ()))}


def rated_sides(pair: Preference) -> tuple[Rated, Rated]:
    """A pair as two rated completions: chosen is desirable, rejected is not; both weigh the pair's strength."""
    return (
        Rated(
            f"{pair.id}/chosen",
            pair.prompt,
            pair.chosen,
            True,
            pair.clauses,
            pair.source,
            pair.strength,
            pair.chosen_finished,
        ),
        Rated(
            f"{pair.id}/rejected",
            pair.prompt,
            pair.rejected,
            False,
            pair.clauses,
            pair.source,
            pair.strength,
            pair.rejected_finished,
        ),
    )


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of each non-empty line. Raises UserError naming file and line."""
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Check the path; relative paths start at the current folder.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    with lines:
        yield from parse_jsonl(lines, str(path))


def parse_jsonl(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of each non-empty line. Raises UserError naming `name` and the line."""
    for number, line in enumerate(lines, 1):
        where = f"{name}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 text (byte {error.start} of the line). Save it as UTF-8.") from None
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{where}: not valid JSON ({error.msg} at column {error.colno}). Each line must hold one JSON object."
            ) from None
        except RecursionError:
            raise UserError(f"{where}: nested too deeply. Each line must hold one flat JSON object.") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: a JSON object is needed, got {type(row).__name__}.")
        yield number, row


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all: to a temporary name, flushed, then renamed. Creates the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows one JSON object a line, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
