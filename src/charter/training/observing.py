"""An observer at work inside a training: it sees the policy as it is, and training goes on as if nobody had looked."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from charter.errors import UserError
from charter.models.generation.local import LocalTextModel
from charter.models.generation.support import context_of
from charter.ports import Observer, TextModel
from charter.records import Completion, Conversation, Demonstration, Departure
from charter.training.devices import launched
from charter.training.layout import Group, Row, pack
from charter.training.logprobs import CompletionLogprobs, Head
from charter.training.policy import Policy
from charter.training.reference import StartWeights
from charter.training.scoring import logprob_sums

MARKED = "marked.safetensors"
_TABLE = 2**26
"""Log-probs held at once, positions times vocabulary: 256 MB in fp32, twice."""


class Observation:
    """What the training loop knows of an observer: when it is asked, and what follows.

    Make it before a checkpoint is loaded: the policy must have the weights of its start. They are kept, as for a
    reference: a few megabytes with adapters, a second copy of the weights without.
    folder: where marked weights are kept.  max_tokens: longer rows have no log-ratio.
    """

    def __init__(self, policy: Policy, observer: Observer, folder: Path, max_tokens: int) -> None:
        if launched()[1] > 1:
            raise UserError(
                "A training is observed in one process so far. Start it without torchrun, or set watch: null."
            )
        self._policy, self._observer, self._folder, self._max_tokens = policy, observer, folder, max_tokens
        self._start = StartWeights(policy.model)
        self._model: TextModel = LocalTextModel.of(policy.model, policy.format.tokenizer, name="policy")
        self._known: dict[Group, Tensor] = {}

    def ends(self, step: int, steps: int) -> bool:
        """Let the observer look if it is due; whether training ends here. The weights may then be the marked ones."""
        if not self._observer.due(step, steps):
            return False
        with untouched(self._policy.model):
            logprobs = CompletionLogprobs(self._policy.model)
            logprobs.eval()
            word = self._observer.look(
                View(step, steps, self._model, self._policy, logprobs, self._start, self._max_tokens, self._known)
            )
        if word.mark:
            self._mark(step)
        if word.back and (word.stop or step == steps):
            self._back()
        return word.stop

    def _mark(self, step: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        building = self._folder / f".{MARKED}"
        state = {name: w.detach().cpu().contiguous().clone() for name, w in trained(self._policy.model).items()}
        save_file(state, str(building), {"step": str(step)})
        building.replace(self._folder / MARKED)

    @torch.no_grad()
    def _back(self) -> None:
        with safe_open(str(self._folder / MARKED), "pt") as file:
            for name, weight in trained(self._policy.model).items():
                weight.copy_(file.get_tensor(name))


def observation(policy: Policy, observer: Observer | None, folder: Path, max_tokens: int) -> Observation | None:
    """An Observation, or None without an observer. Raises UserError under torchrun."""
    return None if observer is None else Observation(policy, observer, folder / "watch", max_tokens)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """After the block, the modules' modes and the random streams of Python, NumPy and torch are what they were."""
    import numpy as np

    modes = {module: module.training for module in model.modules()}
    ours, theirs = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)
        for module, mode in modes.items():
            module.training = mode


@dataclass(frozen=True)
class View:
    """ports.PolicyNow over a policy in this process. `known` keeps the start's log-probs of rows from look to look."""

    step: int
    steps: int
    model: TextModel
    policy: Policy
    logprobs: CompletionLogprobs
    start: StartWeights
    max_tokens: int
    known: dict[Group, Tensor] = field(default_factory=dict)

    def departures(self, prompts: Sequence[Conversation], sampled: Sequence[Completion]) -> list[Departure | None]:
        """As in the port: exact per token over the whole vocabulary, along what was sampled.

        The mean over samples is unbiased for KL(policy || start) of whole completions, and of lower variance than that
        of log-ratios: the chain rule, with the expectation over each next token taken instead of sampled.
        """
        groups = [
            Group(str(place), self.policy.format.prompt_ids(prompt), (one.tokens,))
            for place, (prompt, one) in enumerate(zip(prompts, sampled, strict=True))
            if one.tokens and one.error is None
        ]
        found = departures(self.logprobs, self.start, groups)
        return [found.get(str(place)) for place in range(len(prompts))]

    def log_ratios(self, rows: Sequence[Demonstration]) -> list[float | None]:
        """As in the port."""
        longest = min(self.max_tokens, context_of(self.policy.model) or self.max_tokens)
        encode = self.policy.format
        groups = [
            Group(
                str(place),
                encode.prompt_ids(row.prompt),
                (encode.completion_ids(row.prompt, row.completion, finished=row.finished),),
            )
            for place, row in enumerate(rows)
        ]
        usable = [group for group in groups if group.length <= longest]
        new = [group for group in usable if group not in self.known]
        with self.start.restored():
            sums = logprob_sums(self.logprobs, new, self.max_tokens)
        self.known.update({group: sums[group.key] for group in new})
        now = logprob_sums(self.logprobs, usable, self.max_tokens)
        ratios = {group.key: float(now[group.key] - self.known[group]) for group in usable}
        return [ratios.get(group.key) for group in groups]


@torch.no_grad()
def departures(logprobs: CompletionLogprobs, start: StartWeights, groups: Sequence[Group]) -> dict[str, Departure]:
    """By key, the departure along each group's one completion."""
    found: dict[str, Departure] = {}
    for part in _parts(groups, logprobs):
        row = Row(part)
        with start.restored():
            start_NV = logprobs(row, _log_softmax)
        policy_NV = logprobs(row, _log_softmax)
        chances_NV = policy_NV.exp()
        entropy_N = -torch.linalg.vecdot(chances_NV, policy_NV)
        # Never negative but for rounding.
        kl_N = torch.linalg.vecdot(chances_NV, policy_NV - start_NV).clamp(min=0)
        lengths = [len(group.completions[0]) for group in part]
        for group, kl, entropy in zip(part, kl_N.cpu().split(lengths), entropy_N.cpu().split(lengths), strict=True):
            found[group.key] = Departure(float(kl.double().sum()), float(entropy.double().mean()), len(kl))
    return found


def _log_softmax(head: Head, hidden_ND: Tensor) -> Tensor:
    return head.logits(hidden_ND).log_softmax(1)


def _parts(groups: Sequence[Group], logprobs: CompletionLogprobs) -> Iterator[list[Group]]:
    """Groups in rows of so few tokens that their tables over the vocabulary fit."""
    vocabulary = logprobs.model.get_output_embeddings().weight.shape[0]
    for indices in pack(groups, max(_TABLE // vocabulary, 1)):
        yield [groups[i] for i in indices]
