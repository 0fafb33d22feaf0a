"""From records to groups of token ids; what cannot be used is dropped by name and counted, never cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from charter.errors import UserError
from charter.models.template import ChatFormat
from charter.records import Conversation, Demonstration, Preference, Prompt, Rated, Scored
from charter.training.layout import Group, Turn


def single_groups(
    rows: Sequence[Demonstration] | Sequence[Rated] | Sequence[Scored], format_: ChatFormat, max_tokens: int
) -> tuple[list[Group], dict[str, float], Counter[str]]:
    """(groups with one completion, weight by key, dropped by reason). Scored rows are whole and weigh 1."""
    groups: list[Group] = []
    weights: dict[str, float] = {}
    dropped: Counter[str] = Counter()
    for row in rows:
        if not row.completion.strip():
            dropped["empty completion"] += 1
            continue
        finished, weight = (True, 1.0) if isinstance(row, Scored) else (row.finished, row.weight)
        completion = format_.completion_ids(row.prompt, row.completion, finished=finished)
        group = Group(row.id, format_.prompt_ids(row.prompt), (completion,))
        if group.length > max_tokens:
            dropped[f"longer than {max_tokens} tokens"] += 1
            continue
        groups.append(group)
        weights[row.id] = weight
    return groups, weights, dropped


def demonstration_groups(
    rows: Sequence[Demonstration], format_: ChatFormat, max_tokens: int
) -> tuple[list[Group], dict[str, float], Counter[str]]:
    """(groups with one completion, weight by key, dropped by reason), all weighted turns of a row trained.

    A row with `earlier_weights` gives a group whose completion runs from its first trained turn to its last. Some
    templates write an earlier turn in another way once the conversation has gone on (without its reasoning, say):
    such a turn gets a group of its own, with the prompt that generation would see.
    """
    groups: list[Group] = []
    weights: dict[str, float] = {}
    dropped: Counter[str] = Counter()
    for row in rows:
        if row.weight == 0 and not any(row.earlier_weights):
            dropped["weight 0"] += 1
            continue
        if not any(row.earlier_weights):
            one, weight, reason = single_groups([row], format_, max_tokens)
            groups += one
            weights.update(weight)
            dropped.update(reason)
            continue
        trained = _trained_turns(row)
        if not all(turn.completion.strip() for turn in trained):
            dropped["empty completion"] += 1
            continue
        found = _joined(trained, format_)
        if max(group.length for group in found) > max_tokens:
            dropped[f"longer than {max_tokens} tokens"] += 1
            continue
        groups += found
        weights.update({group.key: 1.0 for group in found})
    return groups, weights, dropped


def _trained_turns(row: Demonstration) -> list[Demonstration]:
    """Each turn with a weight above 0 as the demonstration that it would be alone."""
    places = [i for i, message in enumerate(row.prompt) if message.role == "assistant"]
    if len(places) != len(row.earlier_weights):
        raise UserError(
            f"Row {row.id} has {len(row.earlier_weights)} earlier_weights for {len(places)} assistant turns in its "
            "prompt. Give one a turn, or none."
        )
    turns = [
        Demonstration(row.id, row.prompt[:i], row.prompt[i].content, weight=weight)
        for i, weight in zip(places, row.earlier_weights, strict=True)
    ]
    return [turn for turn in (*turns, replace(row, earlier_weights=())) if turn.weight > 0]


def _joined(turns: Sequence[Demonstration], format_: ChatFormat) -> list[Group]:
    """Turns of one conversation as few groups: a turn goes on where its prompt begins with all that the group holds."""
    groups: list[Group] = []
    for number, turn in enumerate(turns):
        prompt = format_.prompt_ids(turn.prompt)
        said = format_.completion_ids(turn.prompt, turn.completion, finished=turn.finished)
        last = groups[-1] if groups else None
        whole = last.prompt + last.completions[0] if last else ()
        if last and prompt[: len(whole)] == whole:
            start = len(prompt) - len(last.prompt)
            completion = (prompt + said)[len(last.prompt) :]
            spoken = (*last.turns, Turn(start, start + len(said), turn.weight))
            groups[-1] = Group(last.key, last.prompt, (completion,), turns=spoken)
        else:
            key = f"{turn.id} turn {number + 1}" if last else turn.id
            groups.append(Group(key, prompt, (said,), turns=(Turn(0, len(said), turn.weight),)))
    return groups


def preference_groups(
    rows: Sequence[Preference], format_: ChatFormat, max_tokens: int
) -> tuple[list[Group], Counter[str]]:
    """(groups with two completions, chosen first; dropped by reason)."""
    groups: list[Group] = []
    dropped: Counter[str] = Counter()
    for row in rows:
        if not row.chosen.strip() or not row.rejected.strip():
            dropped["empty completion"] += 1
        elif row.chosen.strip() == row.rejected.strip():
            dropped["chosen equals rejected"] += 1
        else:
            sides = ((row.chosen, row.chosen_finished), (row.rejected, row.rejected_finished))
            completions = tuple(format_.completion_ids(row.prompt, text, finished=whole) for text, whole in sides)
            group = Group(row.id, format_.prompt_ids(row.prompt), completions)
            if group.length > max_tokens:
                dropped[f"longer than {max_tokens} tokens"] += 1
            else:
                groups.append(group)
    return groups, dropped


@dataclass(frozen=True)
class PromptIds:
    """A prompt and its token ids; `key` names the source row."""

    key: str
    prompt: Conversation
    ids: tuple[int, ...]


def prompt_ids(rows: Sequence[Prompt], format_: ChatFormat, longest: int) -> tuple[list[PromptIds], Counter[str]]:
    """(prompts of at most `longest` tokens, each once; dropped by reason)."""
    found: dict[tuple[int, ...], PromptIds] = {}
    dropped: Counter[str] = Counter()
    for row in rows:
        ids = format_.prompt_ids(row.prompt)
        if len(ids) > longest:
            dropped[f"prompt longer than {longest} tokens"] += 1
        elif ids in found:
            # Its samples would be drawn from the same random streams.
            dropped["same prompt as an earlier row"] += 1
        else:
            found[ids] = PromptIds(row.id, row.prompt, ids)
    return list(found.values()), dropped
