"""Several processes that train one model together: `torchrun` starts them, FSDP2 shards the weights.

Every process reads the same data and walks through the same code. The rows of a batch are dealt out to them, gradients
are summed, and each process keeps its own part of the weights, gradients and moments. Files are written by the first
process, checkpoints by all. One process alone takes the same path, without torch.distributed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from charter.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from charter.training.layout import Group, Row

T = TypeVar("T")
_PATIENCE = timedelta(days=7)
"""The others wait while the first process evaluates; when a process dies, torchrun ends the rest."""


def launched() -> tuple[int, int]:
    """(rank, number of processes), as torchrun or another launcher with its variables says. Needs no torch."""
    if not all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@cache
def here() -> Devices:
    """This process among those that were launched with it; joins them on the first call.

    Raises UserError when there are more processes on this machine than GPUs.
    """
    import torch
    import torch.distributed as dist

    rank, world = launched()
    if world == 1:
        return Devices()
    backend = "gloo"
    if torch.cuda.is_available():
        place, cards = int(os.environ.get("LOCAL_RANK", rank)), torch.cuda.device_count()
        if place >= cards:
            raise UserError(
                f"More processes were started on this machine than it has GPUs ({cards}). Start one process a GPU: "
                f"torchrun --nproc-per-node {cards} …; to train on the processor, set CUDA_VISIBLE_DEVICES to nothing."
            )
        torch.cuda.set_device(place)
        backend = "cpu:gloo,cuda:nccl"
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=_PATIENCE)
    return Devices(rank, world)


def leave() -> None:
    """Part from the others, once all are here. For the end of a process that succeeded; without others, nothing.

    One that fails must not wait for the others: torchrun ends them.
    """
    if here.cache_info().currsize and here().world > 1:
        import torch.distributed as dist

        here().barrier()
        dist.destroy_process_group()
        here.cache_clear()


def end(code: int) -> NoReturn:
    """End this process, one of several, with that exit code; what it wrote is flushed, and nothing else is torn down.

    Torn down in the usual way, one in many is aborted by the C++ runtime ("terminate called without an active
    exception"), as threads of communication outlive what they use; torchrun then calls the whole run failed.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@dataclass(frozen=True)
class Devices:
    """`rank` of `world` processes. Every method but `first` and `share` is called by all processes, or by none."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def shard(self, module: nn.Module) -> None:
        """Keep only this process's part of the module's weights; layers are gathered when they run.

        module: the root, whose forward is all that is ever called. Gradients are summed, not averaged: a row's loss is
        divided by the weight of the whole batch already.
        """
        if self.world == 1:
            return
        import torch
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (self.world,))
        how: dict[str, Any] = {
            "mesh": mesh,
            "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32),
            # The root too: weights left whole by a forward without a backward would be stale after the next step.
            "reshard_after_forward": True,
        }
        for layer in _layers(module):
            fully_shard(layer, **how)
        root: Any = fully_shard(module, **how)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                # Otherwise the factor is applied by an operation that only NCCL has.
                part.set_force_sum_reduction_for_comms(True)
        # A process whose rows leave a weight unused (an expert) still takes part in the sum of its gradients.
        root.set_reduce_scatter_unused_params(True)

    def share(self, groups: Sequence[Group], row_tokens: int) -> Iterator[tuple[Row, bool]]:
        """This process's rows of a batch, and whether each is real.

        All processes get equally many, as a forward gathers weights from all: who has fewer gets rows of two tokens
        that belong to no group, to be run and counted as nothing. Every group is in one row of one process.
        """
        from charter.training.layout import Group, Row, pack

        parts = self._parts(groups)
        packed = [pack(part, row_tokens) for part in parts]
        for indices in packed[self.rank]:
            yield Row([parts[self.rank][i] for i in indices]), True
        for _ in range(max(map(len, packed)) - len(packed[self.rank])):
            yield Row([Group("filler", (0,), ((0,),))]), False

    def _parts(self, groups: Sequence[Group]) -> list[list[Group]]:
        """The groups dealt out, longest first, each to the process with the fewest tokens; in their order."""
        if self.world == 1:
            return [list(groups)]
        load = [0] * self.world
        owners = [0] * len(groups)
        for index in sorted(range(len(groups)), key=lambda i: -groups[i].length):
            owners[index] = load.index(min(load))
            load[owners[index]] += groups[index].length
        return [[g for g, owner in zip(groups, owners, strict=True) if owner == rank] for rank in range(self.world)]

    def gathered(self, value: T) -> list[T]:
        """Every process's value, in the order of ranks."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def to_first(self, value: T) -> list[T] | None:
        """Every process's value, in the order of ranks, at the first process; None at the others."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] | None = [None] * self.world if self.first else None
        dist.gather_object(value, values, dst=0)
        return values

    def from_first(self, value: T) -> T:
        """The first process's value; the first process may take its time."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def norm(self, own: Tensor) -> Tensor:
        """The 2-norm over all processes, from that of this one's part."""
        if self.world == 1:
            return own
        import torch.distributed as dist

        square = own.square()
        dist.all_reduce(square)
        return square.sqrt()

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.gathered(None)

    def gather_state(self, model: nn.Module, *, trained_only: bool) -> dict[str, Tensor] | None:
        """The whole state dict on CPU, at the first process; None where the model is whole, or at the others.

        trained_only: leave out frozen weights. Tensors that are one in the model are one in the result.
        """
        if self.world == 1:
            return None
        frozen = {name for name, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
        seen: dict[int, Tensor] = {}
        state: dict[str, Tensor] = {}
        for name, value in model.state_dict(keep_vars=True).items():
            if trained_only and name in frozen:
                continue
            if id(value) not in seen:
                whole = value.full_tensor() if hasattr(value, "full_tensor") else value
                seen[id(value)] = whole.detach().cpu() if self.first else value
            state[name] = seen[id(value)]
        return state if self.first else None


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory; the tensor itself where it is whole."""
    import torch

    with torch.no_grad():
        part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def bounds(length: int, rank: int, world: int) -> tuple[int, int]:
    """(start, stop) of the part that FSDP2 gives a process of a tensor's first dimension."""
    size = -(-length // world)
    return min(rank * size, length), min((rank + 1) * size, length)


def _layers(module: nn.Module) -> list[nn.Module]:
    """The blocks that transformers says are not to be split, such as decoder layers."""
    names = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    return [part for part in module.modules() if type(part).__name__ in names]
