"""A trained reward model as something to ask: rewards of exchanges, read from its heads in one of three ways."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from charter.errors import UserError
from charter.models.loading import DTypeName
from charter.models.reward_head import RewardHead, need_head
from charter.models.several import Member, load_several
from charter.models.template import ChatFormat, chat_format
from charter.ports import Progress
from charter.records import Exchange, Rewarded, user_prompt
from charter.training.layout import Group, Row, pack
from charter.training.rewards import CompletionRewards
from charter.training.scoring import ROW_TOKENS
from charter.training.steps import step_ids, steps_of, whole_reward

Read = Literal["mean", "worst", "penalised"]
READS: Final[tuple[Read, ...]] = ("mean", "worst", "penalised")
PENALTY: Final = 1.0


class RewardModel:
    """What `charter train reward` (or another reward method) wrote into a folder, as a `Reward`.

    name: a folder, or several: an ensemble of models trained apart, each with any number of heads. Adapters of one base
    share it.  read: how the heads of an ensemble become one reward, see `read_heads`.  penalty: c of the penalised
    read.
    The adapter is not merged: the rewards are those of the weights that were trained, to the bit.
    Raises UserError when a folder is no reward model, when several do not say the same kind of thing or differ in their
    tokenizer or template, or when a read other than the mean finds one head only.
    """

    def __init__(
        self,
        name: str | Sequence[str],
        read: Read = "mean",
        penalty: float = PENALTY,
        dtype: DTypeName = "auto",
        row_tokens: int = 0,
    ) -> None:
        names = [name] if isinstance(name, str) else list(name)
        if read not in READS:
            raise UserError(f'there is no read "{read}" of a reward model. Reads: {", ".join(READS)}.')
        check_heads(names, read)
        heads = [need_head(one) for one in names]
        members = load_several(names, dtype)
        formats = [chat_format(member.local.tokenizer) for member in members]
        check_alike(names, formats)
        self.name, self.kind = " + ".join(names), heads[0].kind
        self.heads = sum(head.heads for head in heads)
        digests = [member.local.digest for member in members]
        self.digest = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
        self._read, self._penalty = read, penalty
        self._format, self._steps = formats[0], heads[0].steps
        contexts = (getattr(one.local.model.config, "max_position_embeddings", None) or 10**9 for one in members)
        self._longest = min(contexts)
        self._row_tokens = row_tokens or ROW_TOKENS
        self._members = [_Reader(member, head) for member, head in zip(members, heads, strict=True)]

    def reward(self, rows: Sequence[Exchange], progress: Progress | None = None) -> list[Rewarded]:
        """One reward per row, in order; higher is better (of a cost model, less the cost).

        A process model cuts a completion into steps at its separator; an ensemble is read step by step.
        A row that the chat template refuses, that exceeds the context or whose reward is not finite is unscored.
        """
        found: dict[int, Rewarded] = {}
        by_prompt: dict[tuple[int, ...], list[_Asked]] = {}
        for place, row in enumerate(rows):
            ids = self._ids(row)
            if isinstance(ids, str):
                found[place] = Rewarded(row.id, unscored=ids)
            else:
                by_prompt.setdefault(ids[0], []).append(_Asked(place, *ids[1:]))
        groups, asked = _groups(by_prompt, self._row_tokens)
        for indices in pack(groups, self._row_tokens):
            row_ = Row([groups[i] for i in indices])
            with torch.no_grad():
                values_RK = torch.cat([member.values(row_) for member in self._members], dim=1)
            of = [one for i in indices for one in asked[i]]
            for one, values_SK in zip(of, values_RK.split([len(one.reads) for one in of]), strict=True):
                found[one.place] = self._rewarded(rows[one.place].id, values_SK)
            if progress is not None:
                progress(len(found), len(rows))
        return [found[place] for place in range(len(rows))]

    def _ids(self, row: Exchange) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | str:
        """Token ids of prompt and completion and where the reward is read, or why there is none."""
        try:
            prompt = self._format.prompt_ids(row.prompt)
            if self._steps is not None:
                separator = self._steps.separator
                steps = steps_of(row.completion, separator)
                if not steps:
                    return "the completion has no step"
                completion, reads = step_ids(self._format, row.prompt, steps, separator)
            else:
                completion = self._format.completion_ids(row.prompt, row.completion)
                reads = (len(completion) - 1,)
        except UserError as error:
            return str(error)
        if len(prompt) + len(completion) > self._longest:
            return f"longer than the model's context of {self._longest} tokens"
        return prompt, completion, reads

    def _rewarded(self, identity: str, values_SK: Tensor) -> Rewarded:
        scores = tuple(read_heads(values_SK, self._read, self._penalty).tolist())
        if self._steps is None:
            reward, heads, steps = scores[0], tuple(values_SK[0].tolist()), ()
        else:
            reward, heads, steps = whole_reward(scores, self._steps.whole), (), scores
        if not all(map(math.isfinite, scores)):
            return Rewarded(identity, unscored=f"the reward is {reward}")
        return Rewarded(identity, reward, heads, steps=steps)


class _Reader:
    """One model of an ensemble with its heads, or the only one."""

    def __init__(self, member: Member, head: RewardHead) -> None:
        # What the forward exchanges for faster layers are those of the adapter that is on while it is built.
        member.use()
        self._member, self._head = member, head
        self._rewards = CompletionRewards(member.local.model, head).eval()

    def values(self, row: Row) -> Tensor:
        """Values (R, K) in the units of the scores learned from; higher is better."""
        self._member.use()
        values_RK = self._head.units(self._rewards(row)).cpu()
        return -values_RK if self._head.kind == "cost" else values_RK


@dataclass(frozen=True)
class _Asked:
    """A completion to score: which row it is of, its ids, where it is read."""

    place: int
    completion: tuple[int, ...]
    reads: tuple[int, ...]


def check_heads(names: Sequence[str], read: Read) -> None:
    """Raises UserError when the folders cannot be read together in that way, without loading a model."""
    if not names or len(set(names)) < len(names):
        raise UserError("An ensemble of reward models needs folders, each once.")
    heads = [need_head(name) for name in names]
    first = heads[0]
    for name, head in zip(names, heads, strict=True):
        if (head.kind, head.steps) != (first.kind, first.steps):
            raise UserError(
                f'"{name}" is a reward model of the kind "{head.kind}" and "{names[0]}" of the kind "{first.kind}", or '
                "they read steps in other ways: what they say cannot be averaged. Sum them as rewards with weights "
                "of their own."
            )
    if read != "mean" and sum(head.heads for head in heads) == 1:
        raise UserError(
            f'"{names[0]}" has one reward head, so the read "{read}" would be the mean. Train it with `heads: 4`, give '
            "several models, or read the mean."
        )


def check_alike(names: Sequence[str], formats: Sequence[ChatFormat]) -> None:
    """Raises UserError when models read a text as other tokens."""
    probe = user_prompt("Is 1,024 a power of two? Warum? 为什么？")
    asked = [(one.prompt_ids(probe), one.completion_ids(probe, "Yes: 2¹⁰.")) for one in formats]
    for name, ids in zip(names, asked, strict=True):
        if ids != asked[0]:
            raise UserError(
                f'"{name}" and "{names[0]}" have other tokenizers or chat templates. Sum them as rewards with weights '
                "of their own."
            )


def read_heads(values_CK: Tensor, read: Read, penalty: float = PENALTY) -> Tensor:
    """One reward per completion (C,) from those of an ensemble's heads.

    mean; worst: the least of them; penalised: mean - penalty · std, the standard deviation over the heads themselves
    (1/K). Coste et al. 2023 (arXiv 2310.02743), where the penalty is on the variance.
    """
    if read == "worst":
        return values_CK.min(1).values
    mean_C = values_CK.mean(1)
    return mean_C - penalty * values_CK.std(1, correction=0) if read == "penalised" else mean_C


def _groups(by_prompt: dict[tuple[int, ...], list[_Asked]], most: int) -> tuple[list[Group], list[list[_Asked]]]:
    """(groups of at most `most` tokens unless one completion is longer; what stands in each)."""
    members: list[tuple[tuple[int, ...], list[_Asked]]] = []
    for prompt, asked in by_prompt.items():
        room = 0
        for one in asked:
            if not members or not room or len(one.completion) > room:
                members.append((prompt, []))
                room = max(most - len(prompt), 1)
            members[-1][1].append(one)
            room = max(room - len(one.completion), 0)
    groups = [
        Group(str(number), prompt, tuple(one.completion for one in own), tuple(one.reads for one in own))
        for number, (prompt, own) in enumerate(members)
    ]
    return groups, [own for _, own in members]
