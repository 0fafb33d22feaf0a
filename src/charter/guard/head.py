"""Heads over embeddings: how likely a window of a text is to be of each kind.

A small network, several seeds of it side by side in one wider layer. numpy alone, so that scoring needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from charter.errors import UserError

Floats = NDArray[np.float32]
FORMAT: Final = 1


def gelu(x: Floats) -> Floats:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), as trained."""
    found: Floats = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return found


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


@dataclass(frozen=True)
class Head:
    """Weights and what they mean.

    weights: `mean`, `scale` (D), `w1` (hidden, D), `b1`, `w2` (kinds, hidden), `b2`.
    kinds: names of the outputs. offsets: per kind the logit at which it stops, at the false-positive rate it was set
    for; slopes: per kind the calibration's slope (Platt 1999).
    """

    weights: Mapping[str, Floats]
    kinds: tuple[str, ...]
    offsets: Mapping[str, float]
    slopes: Mapping[str, float]
    meta: Mapping[str, Any]

    def logits(self, x_WD: Floats) -> Floats:
        """Raw logits per window and kind, shape (W, K). x_WD: what the head reads of each window."""
        weights = self.weights
        z = np.clip((x_WD - weights["mean"]) / weights["scale"], -6, 6)
        found: Floats = gelu(z @ weights["w1"].T + weights["b1"]) @ weights["w2"].T + weights["b2"]
        return found

    def chance(self, kind: str, logit: float) -> float:
        """The score of a raw logit: calibrated, and shifted so that 0.5 is where the kind stops."""
        return sigmoid((logit - self.offsets[kind]) * self.slopes[kind])


def load_head(path: Path) -> Head:
    """The head in `path` (safetensors) and the JSON beside it. Raises UserError when they do not belong together."""
    from safetensors.numpy import load_file

    about = path.with_suffix(".json")
    try:
        meta = json.loads(about.read_text(encoding="utf-8"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        same = digest == meta["weights_sha256"] and meta["format"] == FORMAT
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise UserError(
            f"{path}: the guard's classifier cannot be read ({error}). Reinstall charter, or train it again."
        ) from None
    if not same:
        raise UserError(f"{path}: weights and {about.name} do not belong together. Reinstall charter, or train again.")
    floats = {name: value.astype(np.float32) for name, value in load_file(path).items()}
    return Head(floats, tuple(meta["kinds"]), meta["offsets"], meta["slopes"], meta)
