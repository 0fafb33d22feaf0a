"""TRL's own divergences on random logits: values and gradients, frozen for `test_divergence.py`.

RIVAL_PYTHON tests/training/oracles/make_divergences.py     (an environment with TRL; needs no charter)

Whole distributions go through GKD's generalised Jensen-Shannon divergence at its ends (beta 0 is forward KL, beta 1
reverse), the teacher's k most likely tokens with a tail through the server distillation trainer's functions. No
temperature-squared factor is in either.
"""

from __future__ import annotations

from pathlib import Path

import torch
import trl
from safetensors.torch import save_file
from torch import Tensor
from trl.experimental.gkd import GKDTrainer
from trl.experimental.server_distillation.server_distillation_trainer import _add_tail_bucket, _jsd_divergence

POSITIONS, VOCABULARY = 9, 40
drawn = torch.Generator().manual_seed(23)
student_NV = 2 * torch.randn(POSITIONS, VOCABULARY, generator=drawn)
teacher_NV = student_NV + 1.5 * torch.randn(POSITIONS, VOCABULARY, generator=drawn)
saved: dict[str, Tensor] = {"student_NV": student_NV, "teacher_NV": teacher_NV}


def whole(student: Tensor, beta: float, temperature: float) -> Tensor:
    parts = [
        GKDTrainer.generalized_jsd_loss(
            student[None, i : i + 1], teacher_NV[None, i : i + 1], beta=beta, temperature=temperature, reduction="sum"
        )
        for i in range(POSITIONS)
    ]
    return torch.stack(parts)


def top(student: Tensor, beta: float, temperature: float, k: int) -> Tensor:
    teacher = (teacher_NV / temperature).log_softmax(-1)
    logp, ids = teacher.topk(k)
    mask = torch.ones_like(ids, dtype=torch.bool)
    own, mask_with_tail = _add_tail_bucket((student / temperature).log_softmax(-1).gather(1, ids), mask)
    theirs, _ = _add_tail_bucket(logp, mask)
    return _jsd_divergence(own, theirs, beta, mask_with_tail).sum(-1)


for direction, beta in (("forward", 0.0), ("reverse", 1.0)):
    for k in (None, 1, 8):
        for temperature in (1.0, 2.0):
            student = student_NV.clone().requires_grad_()
            losses = whole(student, beta, temperature) if k is None else top(student, beta, temperature, k)
            losses.sum().backward()
            name = f"{direction}.{k or 'whole'}.{temperature:g}"
            saved[f"{name}.losses_N"] = losses.detach()
            saved[f"{name}.gradient_NV"] = student.grad
made = {"made with": f"trl {trl.__version__}, torch {torch.__version__}"}
save_file(saved, str(Path(__file__).with_name("divergences.safetensors")), metadata=made)
