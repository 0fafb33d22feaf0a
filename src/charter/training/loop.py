"""The one training loop. A method brings its groups and an objective; everything else is here."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from charter.errors import Unfinished, UserError
from charter.progress import Bar
from charter.training.body import RowForward
from charter.training.checkpoint import load_checkpoint, save_checkpoint
from charter.training.devices import Devices, here
from charter.training.extras import check_processes
from charter.training.layout import Group, Row
from charter.training.logprobs import CompletionLogprobs
from charter.training.metrics import MetricsLog
from charter.training.objective import BatchObjective, Objective, RowObjective, Tally
from charter.training.observing import Observation
from charter.training.optimizer import Optimizers, learning_rate
from charter.training.scoring import logprob_sums
from charter.training.settings import TrainSettings
from charter.training.source import FixedSource, Source, steps_per_epoch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SOURCE = "source."
"""What a source's tensors are called in a checkpoint, beside the optimiser's."""


@dataclass(frozen=True)
class TrainResult:
    """What a finished run was: optimiser steps, tokens run (forward and backward), seconds of this process."""

    steps: int
    tokens: int
    seconds: float


@dataclass
class _Share:
    """What one process did in a step; `bad` are the keys of rows whose loss is not finite."""

    tally: Tally = field(default_factory=Tally)
    loss: float = 0.0
    bad: list[str] = field(default_factory=list)

    def add(self, loss: float, row: Row) -> None:
        """Count a row that has been run."""
        self.loss += loss
        if not math.isfinite(loss):
            self.bad += [group.key for group in row.groups]

    def join(self, other: _Share) -> None:
        """Add what another process did."""
        self.tally.join(other.tally)
        self.loss += other.loss
        self.bad += other.bad


def train(
    model: PreTrainedModel,
    objective: Objective | RowObjective,
    groups: Sequence[Group],
    settings: TrainSettings,
    folder: Path,
    *,
    title: str,
    identity: str = "",
    forward: RowForward | None = None,
    observation: Observation | None = None,
) -> TrainResult:
    """Train the model's trainable weights in place; resumes from the checkpoints in `folder` when there are any.

    Splitting a batch into rows does not change its loss: every row's summed loss is divided by the batch's weight.
    identity: what else a checkpoint belongs to, such as the digest of the untrained weights.
    Processes started together (`devices.py`) share the work; that changes the loss no more than splitting into rows.
    forward: what feeds the objective, built on `model`, trained with its own weights; log-probs when left out.
    observation: who looks at the policy meanwhile; it may end the training, or give back earlier weights at its end.
    Raises UserError on empty data, Unfinished on a loss that is not finite (the last checkpoint stays).
    """
    if not groups:
        raise UserError(f"{title}: no rows to train on. Check the data stage's counts of what was dropped and why.")
    forward = forward or CompletionLogprobs(model)
    source = FixedSource(groups, objective, settings)
    return train_on(source, forward, settings, folder, title=title, identity=identity, observation=observation)


def train_on(
    source: Source,
    forward: RowForward,
    settings: TrainSettings,
    folder: Path,
    *,
    title: str,
    identity: str = "",
    observation: Observation | None = None,
) -> TrainResult:
    """`train`, on what `source` gives at each step.

    Checkpoints stand between batches, never between several updates on one: a batch that was sampled need not be kept,
    as the weights of its start and the number of the step make it again. A kill costs at most one batch more.
    """
    check_processes(settings)
    devices = here()
    devices.shard(forward)
    forward.train()
    forward.checkpoint_gradients(settings.gradient_checkpointing)
    optimizer = Optimizers(
        forward.trained_parts(),
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        kind=settings.optimizer,
        devices=devices,
    )
    fingerprint = _fingerprint(source, settings, identity)
    if len(set(devices.gathered(fingerprint))) > 1:
        raise UserError(f"{title}: the processes have different data, models or settings. Give all of them the same.")
    saved = load_checkpoint(folder / "checkpoints", fingerprint, devices)
    done = 0
    if saved:
        done, tensors = saved
        optimizer.load(tensors)
        source.restore({name[len(_SOURCE) :]: t for name, t in tensors.items() if name.startswith(_SOURCE)})
    per_epoch = steps_per_epoch(source.rows, settings) * settings.updates
    total = per_epoch * settings.epochs
    told = settings.model_dump(mode="json")
    metrics = MetricsLog(folder, done, settings.track, fingerprint, told) if devices.first else None
    begun = time.monotonic()
    tokens = 0
    try:
        with Bar(title, total, "steps", shown=devices.first) as bar:
            bar.update(done)
            ended = observation is not None and observation.ends(done, total)
            while done < total and not ended:
                step = done
                started = time.monotonic()
                batch = source.batch(step)
                forward.train()
                made = time.monotonic()
                values, step_tokens = _step(
                    forward, batch.objective, batch.groups, optimizer, settings, step, total, devices
                )
                seconds = time.monotonic() - started
                if batch.values:
                    values = {**batch.values, **values, "seconds_update": time.monotonic() - made}
                tokens += step_tokens
                rate = step_tokens / seconds
                if metrics is not None:
                    metrics.write(
                        step + 1,
                        {
                            "epoch": (step + 1) / per_epoch,
                            **values,
                            "tokens": step_tokens,
                            "tokens_per_second": rate,
                            "seconds": seconds,
                        },
                    )
                done = step + 1
                bar.update(done, _note(values, rate))
                if is_kept(done, total, settings):
                    state = optimizer.tensors() | {_SOURCE + name: t for name, t in source.tensors().items()}
                    save_checkpoint(folder / "checkpoints", state, done, fingerprint, devices)
                ended = observation is not None and observation.ends(done, total)
    finally:
        if metrics is not None:
            metrics.close()
        forward.eval()
    return TrainResult(done, tokens, time.monotonic() - begun)


def is_kept(done: int, total: int, settings: TrainSettings) -> bool:
    """Whether there is a checkpoint after `done` steps: where `save_every` falls, or at the end of that batch."""
    last = done - settings.updates
    whole = done % settings.updates == 0
    return done == total or (whole and done // settings.save_every > last // settings.save_every)


def _note(values: Mapping[str, float], rate: float) -> str:
    shown = [f"{name} {values[name]:.3f}" for name in ("loss", "reward") if name in values]
    return " · ".join([*shown, f"{rate:.0f} tokens/s"])


def _step(
    forward: RowForward,
    objective: Objective | RowObjective,
    batch: Sequence[Group],
    optimizer: Optimizers,
    settings: TrainSettings,
    step: int,
    total: int,
    devices: Devices,
) -> tuple[dict[str, float], int]:
    # Dropout depends on step and rank alone, so a resumed run draws what an uninterrupted one would have drawn.
    torch.manual_seed(settings.seed * 1_000_003 + step + (devices.rank << 40))
    rate = learning_rate(step, total, settings.learning_rate, settings.warmup, settings.schedule)
    if not batch:
        return {"learning_rate": rate}, 0
    weight = sum(objective.weight(group) for group in batch)
    own = _Share()
    if isinstance(objective, BatchObjective):
        logprobs = _logprobs(forward, objective)
        objective = objective.for_batch(
            batch, lambda groups: logprob_sums(logprobs, groups, settings.row_tokens, devices=devices)
        )
        logprobs.train()
    for row, real in devices.share(batch, settings.row_tokens):
        if isinstance(objective, RowObjective):
            logprobs = _logprobs(forward, objective)
            loss = objective.row_loss(logprobs, row, own.tally) / weight if real else objective.idle(logprobs, row)
        elif not real:
            loss = 0 * forward(row).sum()
        else:
            loss = objective.loss(forward(row), row, own.tally) / weight
        # Where others take part, none may stop alone: they would wait for its part of the gradients.
        loss.backward()
        optimizer.accumulate()
        if real:
            own.add(loss.item(), row)
    everyone = _Share()
    for share in devices.gathered(own):
        everyone.join(share)
    if everyone.bad:
        raise Unfinished(
            f"The loss became {everyone.loss} at step {step + 1} (rows: {', '.join(everyone.bad[:8])}). The last "
            "checkpoint is kept. Lower the learning rate, or look at these rows."
        )
    norm = optimizer.step(rate, settings.max_grad_norm)
    values = {"loss": everyone.loss, **everyone.tally.means(), **everyone.tally.peaks}
    values |= {"grad_norm": norm, "learning_rate": rate}
    # Counted as the data has them, however much of them a row could share.
    return values, sum(group.length for group in batch)


def _logprobs(forward: RowForward, objective: object) -> CompletionLogprobs:
    if not isinstance(forward, CompletionLogprobs):
        raise TypeError(f"{type(objective).__name__} needs log-probs, not {type(forward).__name__}")
    return forward


def _fingerprint(source: Source, settings: TrainSettings, identity: str) -> str:
    """What must not change between a checkpoint and its resume: data, start and every setting but bookkeeping.

    An observer changes no step: with another one the same training goes on."""
    digest = hashlib.sha256(f"{identity} {source.digest()}".encode())
    digest.update(json.dumps(settings.model_dump(exclude={"save_every", "track", "watch"}), sort_keys=True).encode())
    return digest.hexdigest()
