"""Shared-prompt rows: the one data layout of every training method.

A group is one prompt and its k completions (SFT k=1, preferences k=2, sampled groups k=G). A row holds one or more
groups as one flat run of tokens without padding: each prompt once, followed by its completions. Positions restart at
the prompt's end for each completion; a completion attends to its prompt and to itself (`attention.py`). What all
prompts of a row begin with, such as a system prompt, stands in it once. So linear layers see no padding and nothing is
computed twice.
Prefix sharing: Wang and Hegde 2024 (arXiv 2410.20305).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from charter.models.beginning import common_beginning

_MAX_PADDED_SHARE = 0.25
"""Groups share one attention call while padding them to the longest wastes no more than this share of it."""


class Turn(NamedTuple):
    """Where the assistant speaks in a completion, from token `start` up to `stop`, and how much that counts."""

    start: int
    stop: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt with its completions, as token ids. `key` names the source row in errors and counts.

    reads: per completion, the places (from 0) of the tokens at which a reward is read; empty is the last of each.
    turns: the assistant's in the one completion, where it runs over several; what lies between them is attended to,
    not predicted. Empty: every token of every completion is predicted.
    """

    key: str
    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    reads: tuple[tuple[int, ...], ...] = ()
    turns: tuple[Turn, ...] = ()

    @property
    def spoken(self) -> tuple[Turn, ...]:
        """What is predicted: the turns, or each completion as one."""
        return self.turns or tuple(Turn(0, len(completion)) for completion in self.completions)

    @property
    def predicted(self) -> int:
        """Tokens that are predicted."""
        return sum(turn.stop - turn.start for turn in self.spoken)

    @property
    def length(self) -> int:
        """Tokens that the group takes in a row."""
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class AttentionBlock:
    """Groups of similar length that share one attention call.

    gather_GL: flat token index of each slot (padding slots point at token 0).
    segment_GL: 0 for the prompt, 1…k for the completions, -1 for padding.  position_GL: position ids.
    """

    gather_GL: Tensor
    segment_GL: Tensor
    position_GL: Tensor

    def allowed(self, window: int | None) -> Tensor:
        """Boolean mask (G, 1, L, L): key is the prompt or the query's own segment, not later, inside the window."""
        query, key = self.segment_GL[:, :, None], self.segment_GL[:, None, :]
        distance = self.position_GL[:, :, None] - self.position_GL[:, None, :]
        allowed = ((key == query) | (key == 0)) & (distance >= 0)
        if window is not None:
            allowed &= distance < window
        # A padding slot attends to itself: an empty row of the softmax would be NaN.
        allowed |= torch.eye(query.shape[1], dtype=torch.bool, device=query.device)
        return allowed[:, None]


class Row:
    """Several groups as one flat run of T tokens: their common beginning (`shared` tokens), then the rest of each.

    input_ids_T, position_ids_T: int64.
    predict_N, target_N: for each predicted token of the completions, the flat index whose hidden state predicts
        it, and its id.
    sequence_N: which completion (0 … number of completions in the row - 1) the token belongs to.
    first_C: flat index of each completion's first token.
    read_R: flat index of each token at which a reward is read, by default each completion's last.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        for group in self.groups:
            if not group.prompt or not all(group.completions):
                raise ValueError(f"row {group.key}: a group needs a prompt and completions of at least one token")
            if group.turns and len(group.completions) != 1:
                raise ValueError(f"row {group.key}: turns are those of one completion, not of several")
        self.shared = common_beginning([group.prompt for group in self.groups])
        ids: list[int] = list(self.groups[0].prompt[: self.shared]) if self.groups else []
        positions: list[int] = list(range(self.shared))
        predict: list[int] = []
        target: list[int] = []
        sequence: list[int] = []
        firsts: list[int] = []
        reads: list[int] = []
        starts: list[int] = []
        segments: list[list[int]] = []
        count = 0
        for group in self.groups:
            start, size = len(ids), len(group.prompt)
            starts.append(start)
            ids += group.prompt[self.shared :]
            positions += range(self.shared, size)
            segment = [0] * size
            for number, completion in enumerate(group.completions, 1):
                # The first completion token is predicted by the prompt's last token, the others by their neighbour.
                first = len(ids)
                before = [start + size - self.shared - 1, *range(first, first + len(completion) - 1)]
                for turn in group.turns or (Turn(0, len(completion)),):
                    predict += before[turn.start : turn.stop]
                    target += completion[turn.start : turn.stop]
                    sequence += [count] * (turn.stop - turn.start)
                ids += completion
                positions += range(size, size + len(completion))
                segment += [number] * len(completion)
                firsts.append(first)
                places = group.reads[number - 1] if group.reads else (len(completion) - 1,)
                reads += [first + place for place in places]
                count += 1
            segments.append(segment)
        self.tokens = len(ids)
        self.completions = count
        self.input_ids_T = torch.tensor(ids)
        self.position_ids_T = torch.tensor(positions)
        self.predict_N = torch.tensor(predict)
        self.target_N = torch.tensor(target)
        self.sequence_N = torch.tensor(sequence)
        self.first_C = torch.tensor(firsts)
        self.read_R = torch.tensor(reads)
        self._starts, self._segments = starts, segments

    @cached_property
    def layout(self) -> RowLayout:
        """What attention needs to know; built once per row."""
        return RowLayout(self.tokens, self._blocks(), self.shared)

    def _blocks(self) -> list[AttentionBlock]:
        order = sorted(range(len(self.groups)), key=lambda g: len(self._segments[g]), reverse=True)
        blocks: list[AttentionBlock] = []
        members: list[int] = []
        for g in order:
            longest = len(self._segments[members[0]]) if members else 0
            used = sum(len(self._segments[m]) ** 2 for m in members) + len(self._segments[g]) ** 2
            if members and used < (1 - _MAX_PADDED_SHARE) * (len(members) + 1) * longest**2:
                blocks.append(self._block(members))
                members = []
            members.append(g)
        blocks.append(self._block(members))
        return blocks

    def _block(self, members: list[int]) -> AttentionBlock:
        longest = len(self._segments[members[0]])
        gather = torch.zeros(len(members), longest, dtype=torch.long)
        segment = torch.full((len(members), longest), -1)
        position = torch.zeros(len(members), longest, dtype=torch.long)
        for slot, g in enumerate(members):
            # Attention sees every group whole: the shared tokens stand again before each group's own.
            start, size = self._starts[g], len(self._segments[g])
            own = torch.arange(start, start + size - self.shared)
            whole = torch.cat([torch.arange(self.shared), own])
            gather[slot, :size] = whole
            segment[slot, :size] = torch.tensor(self._segments[g])
            position[slot, :size] = self.position_ids_T[whole]
        return AttentionBlock(gather, segment, position)


class RowLayout:
    """The attention layout of one row; travels through the model as a forward keyword, never as state.

    gather_S: flat token index per padded slot, all blocks one after another.  inverse_T: the padded slot from which a
    token's result is read.  slot_is_read_S: False for padding, and for all copies but one of a shared token.
    copies_GP: the slots of each shared token, a row a group; (0, 0) when nothing is shared.
    """

    def __init__(self, tokens: int, blocks: Sequence[AttentionBlock], shared: int = 0) -> None:
        self.blocks = tuple(blocks)
        self.gather_S = torch.cat([block.gather_GL.flatten() for block in blocks])
        real_S = torch.cat([block.segment_GL.flatten() for block in blocks]) >= 0
        slots_S = torch.arange(len(real_S))
        if shared:
            lengths = [block.gather_GL.shape for block in blocks]
            starts_G = torch.tensor([0, *(length for count, length in lengths for _ in range(count))][:-1]).cumsum(0)
            self.copies_GP = starts_G[:, None] + torch.arange(shared)
            real_S[self.copies_GP[1:].flatten()] = False
        else:
            self.copies_GP = slots_S.new_empty(0, 0)
        self.slot_is_read_S = real_S
        self.all_read = bool(real_S.all())
        self.inverse_T = torch.empty(tokens, dtype=torch.long)
        self.inverse_T[self.gather_S[real_S]] = slots_S[real_S]
        self._masks: dict[tuple[int | None, torch.dtype | None], list[Tensor]] = {}

    def masks(self, window: int | None, dtype: torch.dtype | None) -> list[Tensor]:
        """Per block, the mask of `allowed`: additive in `dtype`, or boolean when dtype is None. Built once."""
        key = (window, dtype)
        if key not in self._masks:
            allowed = [block.allowed(window) for block in self.blocks]
            if dtype is not None:
                allowed = [
                    torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
                    for mask in allowed
                ]
            self._masks[key] = allowed
        return self._masks[key]

    def to(self, device: torch.device) -> RowLayout:
        """This layout with its tensors on `device`."""
        if self.gather_S.device == device:
            return self
        moved = object.__new__(RowLayout)
        moved.blocks = tuple(
            AttentionBlock(b.gather_GL.to(device), b.segment_GL.to(device), b.position_GL.to(device))
            for b in self.blocks
        )
        moved.gather_S, moved.inverse_T = self.gather_S.to(device), self.inverse_T.to(device)
        moved.slot_is_read_S, moved.all_read = self.slot_is_read_S.to(device), self.all_read
        moved.copies_GP = self.copies_GP.to(device)
        moved._masks = {}
        return moved


def pack(groups: Sequence[Group], budget: int) -> list[list[int]]:
    """Bin-pack groups into rows of at most `budget` tokens: indices into `groups`, first-fit decreasing.

    A group longer than the budget gets a row of its own. Deterministic; ties keep the order given.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    # What all share is counted once a row.
    shared = common_beginning([group.prompt for group in groups])
    for index in sorted(range(len(groups)), key=lambda i: -groups[i].length):
        size = groups[index].length - shared
        for row, left in enumerate(room):
            if size <= left:
                rows[row].append(index)
                room[row] -= size
                break
        else:
            rows.append([index])
            room.append(budget - shared - size)
    return rows
