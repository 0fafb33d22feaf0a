"""What several processes under torchrun do for test_devices.py, and what one process does for comparison."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny import VOCABULARY, groups_of, tiny_model, with_lora

from charter.errors import Unfinished
from charter.models.lora import LoraSettings, add_lora
from charter.models.reward_head import new_head
from charter.training.bootstrap import bootstrap_counts
from charter.training.devices import end, here, leave
from charter.training.divergence import Comparison
from charter.training.fused import FusedLora, FusedRMSNorm
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.loop import train
from charter.training.methods import DpoSettings
from charter.training.methods.cost import CostObjective
from charter.training.methods.dpo import pair_loss
from charter.training.methods.kl import KlObjective
from charter.training.methods.kto import KtoObjective, mismatched
from charter.training.methods.likelihood import SftObjective
from charter.training.methods.pairs import PairObjective
from charter.training.methods.reward import RewardObjective
from charter.training.methods.reward_pointwise import PointwiseObjective
from charter.training.methods.reward_process import ProcessObjective
from charter.training.objective import Tally
from charter.training.reference import cached_reference
from charter.training.rewards import CompletionRewards
from charter.training.settings import TrainSettings
from charter.training.toptokens import kept_tokens

LONG = 10
"""Epochs of a run that is to be killed, of three steps each."""


@dataclass(frozen=True)
class Case:
    """A training of a tiny fp32 model. rank: of its adapters; 0 trains every weight.  heads: of a reward model."""

    method: str
    model: str = "llama, tied"
    rank: int = 0
    batch: int = 5
    row_tokens: int = 40
    seed: int = 0
    checkpointing: bool = False
    heads: int = 0


CASES: Mapping[str, Case] = {
    **{
        f"{method}, {'adapters' if rank else 'every weight'}": Case(method, rank=rank)
        for method in ("sft", "dpo", "kto")
        for rank in (0, 4)
    },
    "adapters of rank 1, of which one process has nothing": Case("sft", rank=1),
    "one pair a step, so one process has no row": Case("dpo", rank=4, batch=1),
    "recomputed layers": Case("dpo", checkpointing=True),
    "recomputed layers with adapters": Case("sft", rank=4, checkpointing=True),
    "untied with biases": Case("sft", "llama, untied, with biases"),
    "gpt2": Case("sft", "gpt2"),
    "gemma2": Case("dpo", "gemma2, soft caps", rank=4),
    "experts": Case("dpo", "gpt-oss, sinks"),
    **{
        f"{method}, {heads} heads, {'adapters' if rank else 'every weight'}": Case(method, rank=rank, heads=heads)
        for method, heads in (("reward", 1), ("cost", 3), ("pointwise", 2), ("process", 2))
        for rank in (0, 4)
    },
    "one rewarded pair a step": Case("reward", rank=4, batch=1, heads=2),
    "a reward beside an output head of its own": Case("cost", "llama, untied, with biases", heads=1),
    "recomputed layers under a reward": Case("pointwise", "gemma2, soft caps", heads=1, checkpointing=True),
    "near the base": Case("kl", rank=4),
    "near the base, one row a step, so one process has none": Case("kl", rank=4, batch=1),
    "near the base's top tokens": Case("top", rank=4),
    "near the top tokens of another, every weight": Case("top", "qwen3"),
    "near the top tokens of another, untied": Case("top", "llama, untied, with biases", checkpointing=True),
}
"""Named cases; RANDOM adds drawn ones."""
RANDOM: Mapping[str, Case] = {
    f"drawn {seed}": Case(
        draw.choice(["sft", "dpo", "kto"]),
        draw.choice(["llama, tied", "qwen3", "mistral, window 6"]),
        rank=draw.choice([0, 2, 3]),
        batch=draw.randint(2, 11),
        row_tokens=draw.randint(2, 120),
        seed=seed,
    )
    for seed in range(6)
    for draw in (random.Random(seed),)
}


PAIRS = ("dpo", "reward", "cost")


def run_case(case: Case, folder: Path, epochs: int = 2) -> None:
    """Train into `folder`; the first process leaves the whole weights there as end.safetensors."""
    draw = random.Random(case.seed)
    sides = 2 if case.method in PAIRS else 1
    shapes = [(draw.randint(1, 20), *(draw.randint(1, 12) for _ in range(sides))) for _ in range(11)]
    groups = groups_of(*shapes, seed=case.seed, shared=case.seed % 3 * 9)
    if case.method == "process":  # every other token ends a step
        groups = [replace(g, reads=(tuple(range(0, len(g.completions[0]), 2)),)) for g in groups]
    off = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if case.model == "gpt2" else {}
    model: Any = tiny_model(case.model, **off)
    if case.rank == 4:
        model = with_lora(model)
    elif case.rank:
        model = add_lora(model, LoraSettings(r=case.rank), 1)
    # A large epsilon: with 1e-8 the first Adam step is the sign of the gradient, which rounding can flip near zero.
    settings = TrainSettings(
        epochs=epochs,
        batch_size=case.batch,
        row_tokens=case.row_tokens,
        eps=1e-2,
        learning_rate=0.02,
        save_every=3,
        weight_decay=0.1,
        gradient_checkpointing=case.checkpointing,
    )
    if case.heads and not model.config.tie_word_embeddings:
        model.get_output_embeddings().requires_grad_(False)  # as `reward_policy` does: nothing reads it
    head = new_head(32, case.heads, 2, "reward", bias=case.method != "reward") if case.heads else None
    forward = None if head is None else CompletionRewards(model, head)
    what = objective(case, groups, folder)
    train(model, what, groups, settings, folder, title="test", forward=forward)
    end = whole(model, trained_only=bool(case.rank))
    if head is not None:
        end |= {f"head.{name}": weight for name, weight in whole(head).items()}
    if here().first:
        save_file(end, str(folder / "end.safetensors"))


def whole(model: torch.nn.Module, trained_only: bool = False) -> dict[str, torch.Tensor]:
    """The trained weights; of several processes, at the first one."""
    state = here().gather_state(model, trained_only=trained_only) or model.state_dict()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    return {name: state[name].contiguous() for name in trained} if here().first else {}


def objective(case: Case, groups: list[Group], folder: Path) -> Any:
    """The method's objective, every group with a weight of its own, under a reference that is another model."""
    method = case.method
    weights = {g.key: (1 + i) / (1 + len(groups)) for i, g in enumerate(groups)}
    if method == "sft":
        return SftObjective(weights)
    if case.heads:
        return reward_objective(case, groups, weights)
    if method == "kl":
        return KlObjective(SftObjective(weights), Comparison("reverse"), None, 0.7)
    other = CompletionLogprobs(tiny_model(seed=4))
    if method == "dpo":
        sums = cached_reference(other, groups, 64, "other", folder / "reference")
        return PairObjective(pair_loss(DpoSettings(beta=0.3, sft_weight=0.2)), sums, weights)
    if method == "top":
        what: dict[str, Any] = {"k": 7, "temperature": 2.0, "vocabulary": VOCABULARY, "title": "teacher"}
        top = kept_tokens(lambda: other, groups, 64, "other", folder / "teacher", **what)
        return KlObjective(SftObjective(weights), Comparison("forward", 2.0), top, 0.7, 0.3)
    every = [Group(f"{to.key} < {of.key}", to.prompt, of.completions) for to in groups for of in groups if to is not of]
    assert {g.key for g in mismatched(groups)} <= {g.key for g in every}
    sums = cached_reference(other, [*groups, *every], 64, "other", folder / "reference")
    return KtoObjective(sums, {g.key: i % 3 > 0 for i, g in enumerate(groups)}, weights)


def reward_objective(case: Case, groups: list[Group], weights: dict[str, float]) -> Any:
    """Of a reward model: margins, labels and scores differ from group to group, and each head has its bootstrap."""
    counts = bootstrap_counts([g.key for g in groups], case.heads, 3)
    if case.method == "reward":
        return RewardObjective({g.key: 0.1 * i for i, g in enumerate(groups)}, weights, counts, 0.01)
    if case.method == "cost":
        safe = {g.key: (i % 2 == 0, (None, False)[i % 3 == 0]) for i, g in enumerate(groups)}
        return CostObjective(safe, weights, counts)
    if case.method == "process":
        return ProcessObjective({g.key: [float(place % 3 > 0) for place in g.reads[0]] for g in groups}, counts)
    return PointwiseObjective({g.key: i / 5 - 1 for i, g in enumerate(groups)}, counts)


class Broken(SftObjective):
    """A loss that is NaN on one group."""

    def loss(self, logp_N: torch.Tensor, row: Row, tally: Tally) -> torch.Tensor:
        """NaN where row-7 is."""
        factor = float("nan") if any(g.key == "row-7" for g in row.groups) else 1.0
        return super().loss(logp_N, row, tally) * factor


def broken(folder: Path) -> None:
    """Every process writes what it was told when the loss became NaN in one of them."""
    groups = groups_of(*((5, 4) for _ in range(8)))
    settings = TrainSettings(batch_size=8, row_tokens=9)
    try:
        train(tiny_model(), Broken({g.key: 1.0 for g in groups}), groups, settings, folder, title="test")
    except Unfinished as error:
        (folder / f"error-{here().rank}.txt").write_text(str(error))


def count_fused(folder: Path) -> None:
    """How often fused layers ran in one process's training with adapters."""
    seen: dict[str, int] = {}

    def hook(module: torch.nn.Module, *_: Any) -> None:
        if isinstance(module, FusedLora | FusedRMSNorm):
            seen[type(module).__name__] = seen.get(type(module).__name__, 0) + 1

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    run_case(Case("sft", rank=4, batch=11, row_tokens=1000), folder, epochs=1)
    handle.remove()
    (folder / f"fused-{here().rank}.json").write_text(json.dumps(seen))


def command(processes: int, *arguments: str) -> list[str]:
    """A command line that starts `arguments` under torchrun, on this machine's loopback alone."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return [*torchrun, "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *arguments]


def environment() -> dict[str, str]:
    """For `command`: one thread a process, no network, no GPU."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return {**os.environ, **threads, "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}


def together(processes: int, *arguments: str, seconds: float = 540) -> subprocess.CompletedProcess[str]:
    """Run `arguments` under torchrun to the end."""
    return subprocess.run(
        command(processes, *arguments), env=environment(), capture_output=True, text=True, timeout=seconds, check=False
    )


def main(what: str, folder: Path) -> None:
    """What a process under torchrun does."""
    torch.set_num_threads(1)
    if what == "all":
        for name, case in {**CASES, **RANDOM}.items():
            run_case(case, folder / name)
        broken(folder / "broken")
        count_fused(folder / "fused")
    else:
        (folder.parent / f"pid-{here().rank}").write_text(str(os.getpid()))
        run_case(CASES[what], folder, epochs=LONG)
    leave()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    end(0)
