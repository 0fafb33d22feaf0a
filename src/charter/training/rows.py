"""From records to groups of token ids; what cannot be used is dropped by name and counted, never cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from charter.models.template import ChatFormat
from charter.records import Conversation, Demonstration, Preference, Prompt, Rated, Scored
from charter.training.layout import Group


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
