"""Key and value buffers by slot: rows of like length share a lane, rows come and go in place.

A lane is a pair of tensors a layer, (slots, kv heads, capacity, head size), written in place and never copied per step.
Rows are put in the lane of the length that they may need, so that attention reads little padding at mixed lengths.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from charter.models.generation.types import Finished, Request
from charter.records import Finish

_STEP, _LONG_STEP, _LONG = 64, 256, 1024


def lane_capacity(need: int) -> int:
    """The lane for a row that may grow to `need` tokens."""
    step = _STEP if need <= _LONG else _LONG_STEP
    return -(-need // step) * step


@dataclass(slots=True, eq=False)
class Row:
    """A sample in flight. `cached`: tokens whose keys and values are in its slot; `limit`: most tokens to draw."""

    request: Request
    stream: int
    limit: int
    cached: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def finished(self, stopped: str | None) -> Finished:
        """The result, once it has ended; `stopped` as in Finished.stopped_by."""
        finish: Finish = "stop" if stopped else "length"
        return Finished(self.request.key, tuple(self.tokens), tuple(self.logprobs), finish, stopped_by=stopped)


@dataclass(slots=True, eq=False)
class Lane:
    """Slots of one capacity. `rows[i]` is in slot i; None marks a slot just freed."""

    capacity: int
    rows: list[Row | None] = field(default_factory=list)
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def place(self, row: Row) -> int:
        """A slot for the row: the first free one, or a new one at the end."""
        slot = next((i for i, other in enumerate(self.rows) if other is None), len(self.rows))
        if slot == len(self.rows):
            self.rows.append(row)
        else:
            self.rows[slot] = row
        return slot

    def store(self, layer: int, slots: list[int], keys_HTD: Tensor, values_HTD: Tensor) -> None:
        """Write a prompt's keys and values at the start of each of the slots."""
        self._reserve(layer, keys_HTD, values_HTD)
        length = keys_HTD.shape[1]
        for slot in slots:
            self.keys[layer][slot, :, :length] = keys_HTD
            self.values[layer][slot, :, :length] = values_HTD

    def compact(self) -> None:
        """Close the gaps: the last rows move into the free slots."""
        while self.rows and self.rows[-1] is None:
            self.rows.pop()
        for slot in range(len(self.rows)):
            if slot >= len(self.rows):
                break
            if self.rows[slot] is not None:
                continue
            row = self.rows.pop()
            assert row is not None
            self.rows[slot] = row
            last = len(self.rows)
            for buffers in (self.keys, self.values):
                for buffer in buffers.values():
                    buffer[slot, :, : row.cached] = buffer[last, :, : row.cached]
            while self.rows and self.rows[-1] is None:
                self.rows.pop()

    def _reserve(self, layer: int, keys_HTD: Tensor, values_HTD: Tensor) -> None:
        for buffers, like in ((self.keys, keys_HTD), (self.values, values_HTD)):
            old = buffers.get(layer)
            if old is not None and old.shape[0] >= len(self.rows):
                continue
            slots = max(8, len(self.rows) if old is None else old.shape[0] * 2, len(self.rows))
            # Zeros, not empty: a masked position still enters the products, and NaN times zero is NaN.
            new = like.new_zeros((slots, like.shape[0], self.capacity, like.shape[2]))
            if old is not None:
                new[: old.shape[0]] = old
            buffers[layer] = new
