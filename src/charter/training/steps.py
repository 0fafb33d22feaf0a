"""Steps of a completion: how text is cut into them, how they stand in a row, what their scores make together.

A step ends with the separator, the last one too, and its reward is read at the separator's last token: nothing of a
later step is seen there. Each step and each separator is tokenised by itself, so that the place exists whatever the
tokenizer would merge. The same functions cut what is trained on and what is scored.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from charter.errors import UserError
from charter.models.reward_head import Whole
from charter.models.template import ChatFormat
from charter.records import Conversation, Stepwise
from charter.training.layout import Group

SEPARATOR: Final = "\n"
"""What ends a step unless something else is said; TRL's default."""


def steps_of(completion: str, separator: str) -> list[str]:
    """The steps of a text, without their separators; blank ones are none."""
    return [step for step in completion.split(separator) if step.strip()]


def step_ids(
    format_: ChatFormat, prompt: Conversation, steps: Sequence[str], separator: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(token ids of the completion, place of each step's last token in them).

    Raises UserError when the separator is no token.
    """
    end = format_.text_ids(separator)
    if not end:
        raise UserError(f"The step separator {separator!r} is no token of this tokenizer. Choose another `separator`.")
    ids: tuple[int, ...] = ()
    places: list[int] = []
    for step in steps:
        own = format_.text_ids(step) if ids else format_.completion_ids(prompt, step, finished=False)
        ids += own + end
        places.append(len(ids) - 1)
    return ids, tuple(places)


def step_groups(
    rows: Sequence[Stepwise], format_: ChatFormat, max_tokens: int, separator: str, *, last_only: bool
) -> tuple[list[Group], dict[str, tuple[float, ...]], Counter[str]]:
    """(groups with one completion, read at its steps; labels of the steps read by key; dropped by reason).

    last_only: read the last step alone.
    """
    groups: list[Group] = []
    labels: dict[str, tuple[float, ...]] = {}
    dropped: Counter[str] = Counter()
    first = -1 if last_only else 0
    for row in rows:
        steps = steps_of(separator.join(row.steps), separator)
        if len(steps) != len(row.steps):
            # Text that is scored has no other borders than the separators in it.
            dropped["a step is empty or has the separator inside"] += 1
            continue
        ids, places = step_ids(format_, row.prompt, steps, separator)
        group = Group(row.id, format_.prompt_ids(row.prompt), (ids,), (places[first:],))
        if group.length > max_tokens:
            dropped[f"longer than {max_tokens} tokens"] += 1
            continue
        groups.append(group)
        labels[row.id] = row.labels[first:]
    return groups, labels, dropped


def whole_reward(scores: Sequence[float], whole: Whole) -> float:
    """A completion's reward from the scores of its steps, one or more.

    Lightman et al. 2023 (arXiv 2305.20050) take the product of the chances, the chance that all steps are right if they
    were independent, and also try the minimum; Wang et al. 2024 (Math-Shepherd, arXiv 2312.08935) take the minimum.
    """
    if whole == "min":
        return min(scores)
    if whole == "product":
        return math.prod(scores)
    return statistics.fmean(scores) if whole == "mean" else scores[-1]
