"""Looks at a training, made up: proxies and truths that go as a test wants them to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from charter.evaluation.hacking.looks import Look, Sampled

NEAR = [f"p{i}" for i in range(16)]
Line = Callable[[int], float]


def look(step: int, proxy: Sequence[float], truth: Sequence[float], kl: Sequence[float] = (), rest: int = 0) -> Look:
    kls = list(kl) or [float(step)] * len(proxy)
    sampled = [Sampled(name, "a b", 2, True, d, 1.0, 0.0) for name, d in zip(NEAR, kls, strict=False)]
    truths = {"judge, near": dict(zip(NEAR, truth, strict=False))}
    draw = random.Random(rest * 1000 + step)
    truths |= {f"other {i}": {name: draw.gauss(0, 1) for name in NEAR} for i in range(rest)}
    values = {"near": dict(zip(NEAR, proxy, strict=False))}
    return Look("x", step, 4, 1.0, {"near": sampled}, {"near": (1.0, 1.0)}, values, truths, {})


def course(proxy: Line, truth: Line, noise: float = 0.3, seed: int = 0, prompts: int = 16) -> list[Look]:
    """Five looks; every prompt has a level of its own, and noise at each look."""
    draw = random.Random(seed)
    own = [draw.gauss(0, 1) for _ in range(prompts)]
    return [
        look(
            step,
            [o + proxy(step) + draw.gauss(0, noise) for o in own],
            [o + truth(step) + draw.gauss(0, noise) for o in own],
        )
        for step in range(5)
    ]
