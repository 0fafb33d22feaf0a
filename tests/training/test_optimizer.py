"""AdamW with 8-bit moments: near 32-bit AdamW, resumed to the same bits, and refused where its library is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import groups_of, tiny_model
from torch import nn

from charter.errors import UserError
from charter.training.extras import check_installed
from charter.training.loop import train
from charter.training.methods.likelihood import SftObjective
from charter.training.optimizer import Kind, MasterAdamW
from charter.training.settings import TrainSettings

SHAPES = [(96, 64), (64,), (30, 200)]
"""6,144 and 6,000 values (of which the last block is not whole) in 8 bits, 64 in 32."""


def made(kind: Kind, dtype: torch.dtype = torch.float32) -> tuple[list[nn.Parameter], MasterAdamW]:
    drawn = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=drawn).to(dtype)) for shape in SHAPES]
    return weights, MasterAdamW(weights, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, kind=kind)


def steps(weights: list[nn.Parameter], optimizer: MasterAdamW, numbers: range) -> None:
    """Steps down a bowl whose slope differs by weight, with noise that depends on the step alone."""
    for number in numbers:
        drawn = torch.Generator().manual_seed(number)
        for weight in weights:
            noise = torch.randn(weight.shape, generator=drawn)
            weight.grad = (weight.detach().float() + 0.1 * noise).to(weight.dtype)
        optimizer.accumulate()
        optimizer.step(1e-2, 10.0)


def test_without_its_library_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    settings = TrainSettings(optimizer="adamw_8bit")
    with pytest.raises(UserError, match=r"`optimizer: adamw_8bit` needs .*pip install 'charter\[bitsandbytes\]'"):
        check_installed(settings)
    groups = groups_of((5, 4), (3, 6))
    with pytest.raises(UserError, match="pip install"):
        train(tiny_model(), SftObjective({g.key: 1.0 for g in groups}), groups, settings, tmp_path, title="test")
    check_installed(TrainSettings())


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_state_goes_on_to_the_same_bits(kind: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    if kind == "adamw_8bit":
        pytest.importorskip("bitsandbytes", reason="an extra of 125 MB, left out of the test extra")
    whole, optimizer = made(kind, dtype)
    steps(whole, optimizer, range(10))
    save_file(optimizer.tensors(), str(tmp_path / "state.safetensors"))
    steps(whole, optimizer, range(10, 20))
    resumed, again = made(kind, dtype)
    again.load(load_file(str(tmp_path / "state.safetensors")))
    steps(resumed, again, range(10, 20))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(optimizer.masters, again.masters, strict=True))


def test_eight_bit_moments_step_as_whole_ones_within_two_hundredths() -> None:
    pytest.importorskip("bitsandbytes", reason="an extra of 125 MB, left out of the test extra")
    plain, small = made("adamw"), made("adamw_8bit")
    start = [weight.detach().clone() for weight in plain[0]]
    for weights, optimizer in (plain, small):
        steps(weights, optimizer, range(30))
    moments = [name for name in small[1].tensors() if name.endswith(("state1", "state2"))]
    kinds = {name: small[1].tensors()[name].dtype for name in moments}
    assert [kinds[f"{i}.state1"] for i in range(3)] == [torch.uint8, torch.float32, torch.uint8]
    for before, one, two in zip(start, plain[0], small[0], strict=True):
        assert (one - two).norm() < 0.02 * (one - before).norm()


def test_a_tiny_models_losses_are_those_of_whole_moments_within_a_hundredth(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="an extra of 125 MB, left out of the test extra")
    groups = groups_of(*((6, 9) for _ in range(8)))
    losses = {}
    for kind in ("adamw", "adamw_8bit"):
        settings = TrainSettings(epochs=20, batch_size=4, learning_rate=3e-3, optimizer=kind, lora=None)
        # Wide enough that every matrix of its layers has 8-bit moments.
        model = tiny_model(hidden_size=96, intermediate_size=128)
        model.requires_grad_(True)
        train(model, SftObjective({g.key: 1.0 for g in groups}), groups, settings, tmp_path / kind, title="test")
        lines = (tmp_path / kind / "metrics.jsonl").read_text().splitlines()
        losses[kind] = torch.tensor([json.loads(line)["loss"] for line in lines])
    assert losses["adamw"][-1] < 0.7 * losses["adamw"][0]
    assert losses["adamw"].tolist() != losses["adamw_8bit"].tolist()
    torch.testing.assert_close(losses["adamw_8bit"], losses["adamw"], rtol=0.01, atol=0.0)


@pytest.mark.parametrize("asked", [{"optimizer": "adamw_8bit"}, {"lora": {"quantize": "4bit"}}])
def test_several_processes_are_refused_before_any_work(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    settings = TrainSettings.model_validate(asked)
    with pytest.raises(UserError, match=r"in one process so far.* without torchrun"):
        check_installed(settings)
    groups = groups_of((3, 2))
    with pytest.raises(UserError, match="in one process so far"):
        train(
            tiny_model(), SftObjective({g.key: 1.0 for g in groups}), groups, settings, tmp_path / "run", title="test"
        )
    assert not (tmp_path / "run").exists()
