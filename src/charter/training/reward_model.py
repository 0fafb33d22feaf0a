"""A trained reward model as something to ask: rewards of exchanges, read from its heads in one of three ways."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor

from charter.errors import UserError
from charter.models.loading import DTypeName, load_model
from charter.models.reward_head import need_head
from charter.models.template import chat_format
from charter.ports import Progress
from charter.records import Exchange, Rewarded
from charter.training.layout import Group, Row, pack
from charter.training.rewards import CompletionRewards
from charter.training.scoring import ROW_TOKENS

Read = Literal["mean", "worst", "penalised"]
READS: Final[tuple[Read, ...]] = ("mean", "worst", "penalised")
PENALTY: Final = 1.0


class RewardModel:
    """A folder that `charter train reward` (or another reward method) wrote, as a `Reward`.

    read: how the heads of an ensemble become one reward, see `read_heads`.  penalty: c of the penalised read.
    The adapter is not merged: the rewards are those of the weights that were trained, to the bit.
    Raises UserError when the folder is no reward model, or a read other than the mean finds one head only.
    """

    def __init__(
        self, name: str, read: Read = "mean", penalty: float = PENALTY, dtype: DTypeName = "auto", row_tokens: int = 0
    ) -> None:
        head = need_head(name)
        if read not in READS:
            raise UserError(f'there is no read "{read}" of a reward model. Reads: {", ".join(READS)}.')
        if read != "mean" and head.heads == 1:
            raise UserError(
                f'"{name}" has one reward head, so the read "{read}" would be the mean. Train it with `heads: 4`, or '
                "read the mean."
            )
        local = load_model(name, dtype, merge=False)
        self.name, self.kind, self.heads, self.digest = name, head.kind, head.heads, local.digest
        self._read, self._penalty = read, penalty
        self._format = chat_format(local.tokenizer)
        self._longest = getattr(local.model.config, "max_position_embeddings", None) or 10**9
        self._row_tokens = row_tokens or ROW_TOKENS
        self._head = head
        self._rewards = CompletionRewards(local.model, head).eval()

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One reward per row, in order; higher is better (of a cost model, less the cost).

        A row that the chat template refuses, that exceeds the context or whose reward is not finite is unscored.
        """
        found: dict[int, Rewarded] = {}
        by_prompt: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
        for place, row in enumerate(rows):
            ids = self._ids(row)
            if isinstance(ids, str):
                found[place] = Rewarded(row.id, unscored=ids)
            else:
                by_prompt.setdefault(ids[0], []).append((place, ids[1]))
        groups, places = _groups(by_prompt, self._row_tokens)
        for indices in pack(groups, self._row_tokens):
            row_ = Row([groups[i] for i in indices])
            with torch.no_grad():
                values_CK = self._in_units(self._rewards(row_))
            read_C = read_heads(values_CK, self._read, self._penalty)
            of = [place for i in indices for place in places[i]]
            for place, value, heads in zip(of, read_C.tolist(), values_CK.tolist(), strict=True):
                found[place] = _rewarded(rows[place].id, value, heads)
            if progress is not None:
                progress(len(found), len(rows))
        return [found[place] for place in range(len(rows))]

    def _in_units(self, values_CK: Tensor) -> Tensor:
        values_CK = self._head.units(values_CK).cpu()
        return -values_CK if self.kind == "cost" else values_CK

    def _ids(self, row: Exchange) -> tuple[tuple[int, ...], tuple[int, ...]] | str:
        """Token ids of prompt and completion (through its end of turn), or why there is no reward."""
        try:
            ids = self._format.prompt_ids(row.prompt), self._format.completion_ids(row.prompt, row.completion)
        except UserError as error:
            return str(error)
        if len(ids[0]) + len(ids[1]) > self._longest:
            return f"longer than the model's context of {self._longest} tokens"
        return ids


def read_heads(values_CK: Tensor, read: Read, penalty: float = PENALTY) -> Tensor:
    """One reward per completion (C,) from those of an ensemble's heads.

    mean; worst: the least of them; penalised: mean - penalty · std, the standard deviation over the heads themselves
    (1/K). Coste et al. 2023 (arXiv 2310.02743), where the penalty is on the variance.
    """
    if read == "worst":
        return values_CK.min(1).values
    mean_C = values_CK.mean(1)
    return mean_C - penalty * values_CK.std(1, correction=0) if read == "penalised" else mean_C


def _groups(
    by_prompt: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]], most: int
) -> tuple[list[Group], list[list[int]]]:
    """(groups of at most `most` tokens unless one completion is longer; which rows stand in each)."""
    groups: list[Group] = []
    places: list[list[int]] = []
    for prompt, asked in by_prompt.items():
        room = 0
        for place, completion in asked:
            if not places or not room or len(completion) > room:
                groups.append(Group(str(len(groups)), prompt, ()))
                places.append([])
                room = max(most - len(prompt), 1)
            last = groups[-1]
            groups[-1] = Group(last.key, prompt, (*last.completions, completion))
            places[-1].append(place)
            room = max(room - len(completion), 0)
    return groups, places


def _rewarded(identity: str, value: float, heads: list[float]) -> Rewarded:
    if not math.isfinite(value):
        return Rewarded(identity, unscored=f"the reward is {value}")
    return Rewarded(identity, value, tuple(heads))
