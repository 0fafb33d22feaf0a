"""Safe LoRA and RESTA against their papers' formulas, on matrices and on real tiny folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_folder

from charter.errors import UserError
from charter.models.loading import load_model
from charter.models.lora import LoraSettings
from charter.training.policy import trainable_policy
from charter.training.safety_weights import (
    ADAPTER,
    alignment_projector,
    merged_folder,
    resta,
    safe_lora,
    subspace_similarity,
    with_safety_vector,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_projector_is_the_papers() -> None:
    aligned, unaligned = drawn(6, 4), drawn(6, 4, seed=1)
    projector = alignment_projector(aligned, unaligned)
    v = (aligned - unaligned).double()
    assert projector is not None
    assert torch.allclose(projector, v @ v.T / v.square().sum().sqrt())
    assert torch.allclose(projector, projector.T)
    # It keeps nothing of an update that stands at right angles to all that alignment changed.
    basis = torch.linalg.svd(v, full_matrices=True).U
    outside = basis[:, 4:] @ drawn(2, 3, seed=2).double()
    assert torch.allclose(projector @ outside, torch.zeros(6, 3, dtype=torch.double), atol=1e-10)
    assert subspace_similarity(outside + 0.01 * basis[:, :1] @ drawn(1, 3).double(), projector) < 0.05
    # With one direction of alignment, an update along it is similar by 1.
    one = alignment_projector(torch.outer(drawn(6), drawn(4)), torch.zeros(6, 4))
    assert one is not None
    direction = torch.linalg.eigh(one).eigenvectors[:, -1:]
    assert subspace_similarity(direction @ drawn(1, 4, seed=3).double(), one) == pytest.approx(1.0)
    assert alignment_projector(aligned, aligned) is None


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """unaligned; aligned: the same with two layers changed; adapter: LoRA with random B on the aligned one."""
    root = tmp_path_factory.mktemp("models")
    unaligned = tiny_folder(root / "unaligned", num_hidden_layers=1)
    local = load_model(str(unaligned), "float32")
    with torch.no_grad():
        for name, weight in local.model.named_parameters():
            if "q_proj" in name or "o_proj" in name:
                weight.add_(0.1 * drawn(*weight.shape, seed=5))
    aligned = root / "aligned"
    local.model.save_pretrained(aligned)
    local.tokenizer.save_pretrained(aligned)
    policy = trainable_policy(str(aligned), LoraSettings(r=2, alpha=4), 0)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
    policy.save(root / "adapter")
    return {"unaligned": unaligned, "aligned": aligned, "adapter": root / "adapter", "root": root}


def state(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(path), "float32").model.state_dict())


def test_safe_lora_projects_what_lies_outside(folders: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = safe_lora(folders["adapter"], str(folders["aligned"]), str(folders["unaligned"]), out, 1.0)
    assert (
        set(found.similarity)
        == {
            "model.layers.0.self_attn.q_proj",
            "model.layers.0.self_attn.o_proj",
        }
        == set(found.projected)
    )
    assert len(found.unchanged_by_alignment) == 5
    before, after = load_file(folders["adapter"] / ADAPTER), load_file(out / ADAPTER)
    weights = {name: state(folders[name]) for name in ("aligned", "unaligned")}
    for key, value in before.items():
        layer = key.removeprefix("base_model.model.").removesuffix(".lora_B.weight")
        if key.endswith("lora_B.weight") and layer in found.projected:
            v = weights["aligned"][f"{layer}.weight"] - weights["unaligned"][f"{layer}.weight"]
            want = (v @ v.T / v.square().sum().sqrt()) @ value.float()
            assert torch.allclose(after[key].float(), want, atol=2e-2, rtol=2e-2)
            assert not torch.allclose(after[key].float(), value.float())
        else:
            assert torch.equal(after[key], value)
    assert load_model(str(out)).digest != load_model(str(folders["adapter"])).digest
    kept = safe_lora(folders["adapter"], str(folders["aligned"]), str(folders["unaligned"]), tmp_path / "no", -1.0)
    assert kept.projected == ()
    assert all(torch.equal(value, before[key]) for key, value in load_file(tmp_path / "no" / ADAPTER).items())


def test_resta_adds_the_safety_vector(folders: dict[str, Path], tmp_path: Path) -> None:
    sides = [str(folders[name]) for name in ("adapter", "aligned", "unaligned")]
    norm = resta(*sides, tmp_path / "out", 0.5, 0.0, 0)
    tuned, aligned, unaligned = (state(Path(side)) for side in sides)
    got = state(tmp_path / "out")
    for name, value in got.items():
        assert torch.allclose(value, tuned[name] + 0.5 * (aligned[name] - unaligned[name]), atol=1e-5)
    squares = sum(float((aligned[name] - unaligned[name]).square().sum()) for name in got)
    # Tied weights stand under two names.
    assert norm == pytest.approx(squares**0.5, rel=1e-4)
    other = tiny_folder(tmp_path / "other", num_hidden_layers=2)
    with pytest.raises(UserError, match="one form"):
        resta(str(other), sides[1], sides[2], tmp_path / "bad", 0.5, 0.0, 0)
    assert not (tmp_path / "bad").exists()


def test_dropping_keeps_the_mean_of_the_tasks_change() -> None:
    aligned, unaligned = {"w": torch.zeros(200, 200)}, {"w": torch.full((200, 200), -1.0)}
    tuned = {"w": torch.ones(200, 200), "n": torch.tensor(3)}
    sides: list[dict[str, Any]] = [{**aligned, "n": torch.tensor(3)}, {**unaligned, "n": torch.tensor(3)}]
    got = with_safety_vector(tuned, *sides, strength=0.25, drop=0.3, seed=1)
    change = got["w"] - 0.25
    assert change.round(decimals=4).unique().tolist() == pytest.approx([0.0, 1 / 0.7], abs=1e-4)
    assert float(change.mean()) == pytest.approx(1.0, abs=0.02)
    assert got["n"].item() == 3
    with pytest.raises(ValueError, match="drop"):
        with_safety_vector(tuned, *sides, strength=1.0, drop=1.0)


def test_a_merged_adapter_says_what_the_two_said(folders: dict[str, Path], tmp_path: Path) -> None:
    merged = state(merged_folder(str(folders["adapter"]), tmp_path / "merged"))
    both = state(folders["adapter"])
    assert all(torch.allclose(value, both[name], atol=1e-6) for name, value in merged.items())
