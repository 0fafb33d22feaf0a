"""Safety given back to fine-tuned weights afterwards: by projecting the update, or by adding a difference of weights.

Both need the model before its alignment. The difference of aligned and unaligned weights says where safety lies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from charter.errors import UserError
from charter.models.loading import ADAPTER_CONFIG, load_model
from charter.models.lora import replace_folder

ADAPTER: Final = "adapter_model.safetensors"


def alignment_projector(aligned_OI: Tensor, unaligned_OI: Tensor) -> Tensor | None:
    """C = V V^T / ||V||_F with V = W_aligned - W_unaligned, shape (O, O); None where alignment changed nothing.

    Hsu et al. 2024 (Safe LoRA, arXiv 2405.16833), eq. 2: their fast stand-in for the exact V (V^T V)^-1 V^T.
    """
    v_OI = (aligned_OI - unaligned_OI).double()
    norm = torch.linalg.matrix_norm(v_OI)
    return None if norm == 0 else v_OI @ v_OI.T / norm


def subspace_similarity(update_OI: Tensor, projector_OO: Tensor) -> float:
    """Cosine of an update and its projection, <dW, C dW> / (||dW|| ||C dW||); 1 for no update (eq. 3's condition)."""
    update = update_OI.double()
    projected = projector_OO @ update
    size = float(torch.linalg.matrix_norm(update) * torch.linalg.matrix_norm(projected))
    return 1.0 if size == 0 else float((update * projected).sum()) / size


@dataclass(frozen=True)
class Projected:
    """What Safe LoRA did: similarity by layer, and the layers that were projected or could not be."""

    similarity: Mapping[str, float]
    projected: tuple[str, ...]
    unchanged_by_alignment: tuple[str, ...]


def safe_lora(adapter: Path, aligned: str, unaligned: str, out: Path, threshold: float) -> Projected:
    """Write the adapter to `out` with B replaced by C B in every layer whose similarity lies below `threshold`.

    Raises UserError when the two models have not the layers that the adapter has, or the adapter is no plain LoRA.
    """
    from safetensors.torch import load_file, save_file

    config: dict[str, Any] = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if config.get("use_dora"):
        raise UserError(f"{adapter}: Safe LoRA projects plain LoRA updates; this adapter is DoRA. Train it without.")
    weights = load_file(adapter / ADAPTER)
    before, after = _weights(unaligned), _weights(aligned)
    similarity: dict[str, float] = {}
    projected: list[str] = []
    untouched: list[str] = []
    for name in sorted(key for key in weights if key.endswith("lora_B.weight")):
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
        b_OR, a_RI = weights[name], weights[name.replace("lora_B", "lora_A")]
        # GPT-2's layers hold their weights the other way round.
        turn = bool(config.get("fan_in_fan_out"))
        pair = [_layer(side, layer, turn) for side in (after, before)]
        projector = alignment_projector(*pair)
        if projector is None:
            untouched.append(layer)
            continue
        similarity[layer] = subspace_similarity(b_OR.double() @ a_RI.double(), projector)
        if similarity[layer] < threshold:
            weights[name] = (projector @ b_OR.double()).to(b_OR.dtype).contiguous()
            projected.append(layer)
    _copy_with(adapter, out, lambda folder: save_file(weights, folder / ADAPTER, metadata={"format": "pt"}))
    return Projected(similarity, tuple(projected), tuple(untouched))


def with_safety_vector(
    tuned: Mapping[str, Tensor],
    aligned: Mapping[str, Tensor],
    unaligned: Mapping[str, Tensor],
    strength: float,
    drop: float = 0.0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """tuned + strength · (aligned - unaligned), weight by weight (RESTA; Bhardwaj et al. 2024, arXiv 2402.11746).

    drop: chance with which an entry of the fine-tuning's own change, tuned - aligned, is first set to zero and the
    others are divided by 1 - drop (DARE, Yu et al. 2024, arXiv 2311.03099, eq. 2); the paper's RESTA_d.
    """
    if not 0 <= drop < 1:
        raise ValueError(f"drop lies in [0, 1), got {drop}")
    drawn = torch.Generator().manual_seed(seed)
    merged: dict[str, Tensor] = {}
    for name, value in tuned.items():
        if not value.is_floating_point():
            merged[name] = value
            continue
        base = aligned[name].float()
        change = value.float() - base
        if drop:
            change = change * (torch.rand(change.shape, generator=drawn) >= drop) / (1 - drop)
        merged[name] = (base + change + strength * (base - unaligned[name].float())).to(value.dtype)
    return merged


def resta(tuned: str, aligned: str, unaligned: str, out: Path, strength: float, drop: float, seed: int) -> float:
    """Write the tuned model with its safety vector added to `out`, as a whole model; the vector's norm.

    Raises UserError when the three models have not the same weights.
    """
    local = load_model(tuned, "float32")
    sides = [_weights(name) for name in (aligned, unaligned)]
    state = local.model.state_dict()
    for name, value in state.items():
        for side, title in zip(sides, (aligned, unaligned), strict=True):
            if name not in side or side[name].shape != value.shape:
                raise UserError(
                    f'"{title}" has no weight {name} of shape {tuple(value.shape)}: give models of one form.'
                )
    merged = with_safety_vector(state, sides[0], sides[1], strength, drop, seed)
    local.model.load_state_dict(merged)

    def write(folder: Path) -> None:
        local.model.save_pretrained(str(folder))
        local.tokenizer.save_pretrained(str(folder))

    _whole(out, write)
    pairs = [(sides[0][name].float(), sides[1][name].float()) for name in state if state[name].is_floating_point()]
    return math.sqrt(sum(float((a - b).square().sum()) for a, b in pairs))


def merged_folder(model: str, out: Path) -> Path:
    """The model as a whole one in `out` (an adapter folded into its base), so that an update on it starts at zero."""
    local = load_model(model, "float32")

    def write(folder: Path) -> None:
        local.model.save_pretrained(str(folder))
        local.tokenizer.save_pretrained(str(folder))

    _whole(out, write)
    return out


def _weights(name: str) -> dict[str, Tensor]:
    return dict(load_model(name, "float32").model.state_dict())


def _layer(side: Mapping[str, Tensor], layer: str, turn: bool) -> Tensor:
    weight = side.get(f"{layer}.weight")
    if weight is None:
        raise UserError(
            f"The layer {layer}, which the adapter changes, is not in both models. Give models of one form."
        )
    return weight.T if turn else weight


def _whole(out: Path, write: Any) -> None:
    """Build a folder beside `out` and put it in its place when it is finished."""
    import tempfile

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=out.parent) as temporary:
        building = Path(temporary) / "model"
        building.mkdir()
        write(building)
        replace_folder(building, out)


def _copy_with(source: Path, out: Path, write: Any) -> None:
    import shutil

    def fill(folder: Path) -> None:
        for path in source.iterdir():
            if path.is_file() and path.name != ADAPTER:
                shutil.copy2(path, folder / path.name)
        write(folder)

    _whole(out, fill)
