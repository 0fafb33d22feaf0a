"""Preference data in the shapes people have, as Preference records.

Understood, per row: `prompt` with `chosen` and `rejected` (strings, or lists of messages), `chosen` and `rejected` as
whole conversations that share their beginning, and hh-rlhf's transcripts (`\\n\\nHuman: … \\n\\nAssistant: …`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from charter.errors import UserError
from charter.records import Conversation, Message, Preference, conversation_of, read_jsonl

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def read_preferences(source: str, split: str = "train") -> list[Preference]:
    """Preferences from a JSONL file or a hub dataset id; ids that occur twice are told apart by their row.

    Raises UserError naming file and line for a missing file, an empty one, a row without `chosen` or `rejected`, or a
    shape that is none of those above.
    """
    preferences: dict[str, Preference] = {}
    for key, where, row in source_rows(source, split):
        preference = preference_of(row, where, key)
        if preference.id in preferences:
            # Several pairs of one prompt often share its id; training keeps what it knows of a row by id.
            preference = replace(preference, id=f"{preference.id}@{key}")
        preferences[preference.id] = preference
    if not preferences:
        raise UserError(f"{source}: holds no rows. Give a file with one preference pair a line.")
    return list(preferences.values())


def preference_of(row: Mapping[str, Any], where: str, key: str) -> Preference:
    """One row as a Preference. `where` names it in errors; `key` is its id unless it has one."""
    for name in ("chosen", "rejected"):
        if row.get(name) in (None, "", []):
            raise UserError(
                f'{where}: has no "{name}" (its keys: {", ".join(map(str, row)) or "none"}). A preference row needs '
                '"chosen" and "rejected", and a "prompt" unless both are whole conversations.'
            )
        if not isinstance(row[name], str | list):
            raise UserError(
                f'{where}: "{name}" must be a string or a list of messages; got {type(row[name]).__name__}.'
            )
    chosen, rejected = row["chosen"], row["rejected"]
    identity = str(row["id"]) if row.get("id") is not None else key
    if row.get("prompt") or row.get("messages"):
        prompt = conversation_of(row, where)
        sides = [answer_to(side, prompt, where) for side in (chosen, rejected)]
        if None not in sides:
            return Preference(identity, prompt, str(sides[0]), str(sides[1]), source=where)
    chosen_turns, rejected_turns = _turns(chosen, where), _turns(rejected, where)
    shared = len(chosen_turns) - 1
    if chosen_turns[:-1] != rejected_turns[:-1]:
        # hh-rlhf has rows whose conversations part before the last turn: no one prompt belongs to both.
        shared = 0
        for ours, theirs in zip(chosen_turns, rejected_turns, strict=False):
            if ours != theirs:
                break
            shared += 1
    parted = chosen_turns[shared : shared + 1] + rejected_turns[shared : shared + 1]
    if shared == 0 or [turn.role for turn in parted] != ["assistant", "assistant"]:
        raise UserError(
            f"{where}: chosen and rejected share no prompt that both answer. Give both the same conversation so far."
        )
    return Preference(identity, chosen_turns[:shared], parted[0].content, parted[1].content, source=where)


def parse_transcript(text: str, where: str) -> Conversation:
    """hh-rlhf's `\\n\\nHuman: …\\n\\nAssistant: …` as messages. Raises UserError when it is not one."""
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[0].strip():
        raise UserError(
            f"{where}: chosen and rejected are plain strings without a prompt and not `Human:`/`Assistant:` "
            'transcripts. Add the "prompt".'
        )
    turns = [
        Message("user" if parts[i] == "Human" else "assistant", parts[i + 1].strip()) for i in range(1, len(parts), 2)
    ]
    return tuple(turns)


def _turns(value: Any, where: str) -> Conversation:
    turns = parse_transcript(value, where) if isinstance(value, str) else conversation_of({"messages": value}, where)
    if turns[-1].role != "assistant" or len(turns) < 2:
        raise UserError(f"{where}: the conversation must end with an assistant's answer to a prompt.")
    return turns


def answer_to(value: Any, prompt: Conversation, where: str) -> str | None:
    """The answer to `prompt`; None when the side is a conversation of its own that goes on after the prompt."""
    if isinstance(value, str):
        return value
    turns = conversation_of({"messages": value}, where)
    if turns[-1].role != "assistant":
        raise UserError(f"{where}: the last message of an answer must be the assistant's.")
    before = turns[:-1]
    return turns[-1].content if not before or prompt[-len(before) :] == before else None


def is_file(source: str) -> bool:
    """Whether the source is meant as a file rather than as a hub dataset id."""
    path = Path(source).expanduser()
    return path.exists() or path.suffix in (".jsonl", ".json") or source.startswith((".", "/", "~"))


def source_rows(source: str, split: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(id, where it stands, row) of a JSONL file or a hub dataset. Raises UserError when it cannot be read."""
    if is_file(source):
        path = Path(source).expanduser()
        for number, row in read_jsonl(path):
            yield f"{path.stem}-{number}", f"{path}, line {number}", row
        return
    import datasets

    try:
        dataset = datasets.load_dataset(source, split=split)
    except Exception as error:
        # The hub client raises many kinds; to the user they mean that the dataset could not be had.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f'"{source}" is neither a file nor a dataset that could be loaded (split {split}): {reason} '
            "Check the name and the network, or download it and give the JSONL file."
        ) from error
    for number, row in enumerate(dataset):
        yield f"{source}-{number}", f"{source}[{number}]", row
