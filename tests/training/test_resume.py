"""A training process killed with SIGKILL goes on to the very weights of an uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rolling import PROMPTS, early_letters, reward_from
from rolling import settings as online_settings
from safetensors.torch import load_file
from tiny import tiny_folder

from charter.recipes.train_stage import run_method
from charter.records import Demonstration, Preference, Rated, user_prompt
from charter.training.checkpoint import load_checkpoint, save_checkpoint
from charter.training.methods import (
    DistillSettings,
    DpoSettings,
    GrpoSettings,
    KtoSettings,
    PpoSettings,
    RewardSettings,
    SftSettings,
    train_distill,
    train_dpo,
    train_grpo,
    train_kto,
    train_online_dpo,
    train_ppo,
    train_reward,
    train_sft,
)
from charter.training.settings import TrainSettings

STEPS = 60
SFT = SftSettings(epochs=15, batch_size=2, save_every=3, learning_rate=1e-3, lora=None)
# Dropout in the adapters: what is drawn after a resume has to be what would have been drawn.
DPO = DpoSettings.model_validate(
    {"epochs": 15, "batch_size": 2, "save_every": 3, "learning_rate": 1e-3, "lora": {"r": 4, "dropout": 0.2}}
)
KTO = KtoSettings.model_validate(
    DPO.model_dump(exclude={"method", "label_smoothing", "length_desensitisation", "sft_weight"})
)
NEAR = SftSettings.model_validate(
    {"epochs": 15, "batch_size": 2, "save_every": 3, "kl_weight": 0.5, "lora": {"r": 4, "dropout": 0.2}}
)
DISTILL = DistillSettings.model_validate(
    {**NEAR.model_dump(include={"epochs", "batch_size", "save_every", "lora"}), "teacher": "", "top_k": 9}
)

REWARD = RewardSettings.model_validate({**DPO.model_dump(include=set(TrainSettings.model_fields)), "heads": 2})
# Dropout draws from the global stream after each rollout, which draws from streams of its own.
ONLINE = online_settings(
    epochs=30, save_every=3, learning_rate=1e-2, sample_tokens=6, lora={"r": 4, "dropout": 0.2}, temperature=0.9
)
# Four updates a rollout, checkpoints asked for inside them, and a KL weight that moves with each rollout.
GRPO = GrpoSettings.model_validate(
    {
        **ONLINE.model_dump(include=set(TrainSettings.model_fields) | {"sample_tokens", "temperature", "reward"}),
        **{"samples": 3, "mini_batches": 2, "update_epochs": 2, "epochs": 8, "batch_size": 3},
        **{"beta": 0.1, "kl_in": "reward", "kl_target": 0.01, "kl_horizon": 30},
    }
)
# Two optimisers, of policy and critic.
PPO = PpoSettings.model_validate(
    GRPO.model_dump(exclude={"method", "aggregation", "advantage_scale", "epsilon", "ratio"})
    | {"critic_learning_rate": 0.02}
)
WATCHED = GrpoSettings.model_validate(
    GRPO.model_dump()
    | {
        "reward": [{"function": "rolling:early_letters"}],
        "watch": {"every": 7, "prompts": 6, "suites": [], "truth": [{"function": "rolling:late_letters"}]},
    }
)


def run(method: str, base: Path, folder: Path) -> None:
    """What both the killed process and the one that resumes it execute."""
    torch.set_num_threads(1)
    if method == "sft":
        rows = [Demonstration(f"d{i}", user_prompt(f"Say {i}."), f"It is {i}.") for i in range(8)]
        train_sft(str(base), rows, SFT, folder)
    elif method == "sft near its base":
        rows = [Demonstration(f"d{i}", user_prompt(f"Say {i}."), f"It is {i}.") for i in range(8)]
        train_sft(str(base), rows, NEAR, folder)
    elif method == "distill":
        rows = [Demonstration(f"d{i}", user_prompt(f"Say {i}."), f"It is {i}.") for i in range(8)]
        teacher = tiny_folder(folder / "other", seed=8)
        train_distill(str(base), rows, DISTILL.model_copy(update={"teacher": str(teacher)}), folder)
    elif method == "kto":
        rated = [Rated(f"r{i}", user_prompt(f"Say {i}."), f"Yes, {i}.", i % 3 > 0) for i in range(8)]
        train_kto(str(base), rated, KTO, folder)
    elif method == "online_dpo":
        train_online_dpo(str(base), PROMPTS, ONLINE, folder, reward_from(early_letters))
    elif method == "ppo":
        train_ppo(str(base), PROMPTS, PPO, folder, reward_from(early_letters))
    elif method == "watched":
        run_method("grpo", str(base), PROMPTS, WATCHED, folder)
    elif method == "grpo":
        train_grpo(str(base), PROMPTS, GRPO, folder, reward_from(early_letters))
    else:
        pairs = [Preference(f"p{i}", user_prompt(f"Say {i}."), f"Yes, {i}.", f"No {i}") for i in range(8)]
        if method == "reward":
            train_reward(str(base), pairs, REWARD, folder)
        else:
            train_dpo(str(base), pairs, DPO, folder)


def steps_of(folder: Path) -> list[int]:
    file = folder / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []


def killed_midway(method: str, base: Path, folder: Path) -> int:
    """Run in a process of its own, SIGKILL after some steps; returns how many steps it had logged."""
    process = subprocess.Popen(
        [sys.executable, __file__, method, str(base), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            lines = (folder / "metrics.jsonl").read_text().count("\n") if (folder / "metrics.jsonl").exists() else 0
            if lines >= 8:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    return (folder / "metrics.jsonl").read_text().count("\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["sft", "sft near its base", "distill", "dpo", "kto", "reward", "online_dpo", "grpo", "watched", "ppo"]
)
def test_kill_and_resume(method: str, tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "base")
    logged = killed_midway(method, base, tmp_path / "killed")
    steps = STEPS + 4 * (method in ("grpo", "watched", "ppo"))
    assert 8 <= logged < steps
    assert not (tmp_path / "killed" / "model").exists()
    threads = torch.get_num_threads()
    try:
        run(method, base, tmp_path / "killed")
        run(method, base, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert steps_of(tmp_path / "killed") == list(range(1, steps + 1))
    names = ["model.safetensors" if method == "sft" else "adapter_model.safetensors"]
    for name in [*names, "reward_head.safetensors"] if method == "reward" else names:
        resumed, whole = (load_file(tmp_path / which / "model" / name) for which in ("killed", "whole"))
        assert resumed.keys() == whole.keys()
        for key, value in whole.items():
            assert torch.equal(resumed[key], value), key
    losses: Any = [
        [json.loads(line).get("loss") for line in (tmp_path / which / "metrics.jsonl").read_text().splitlines()]
        for which in ("killed", "whole")
    ]
    assert losses[0] == losses[1]
    if method == "watched":
        looks: Any = [
            [{**json.loads(line), "seconds": 0} for line in (tmp_path / which / "watch.jsonl").read_text().splitlines()]
            for which in ("killed", "whole")
        ]
        assert looks[0] == looks[1]
        assert [look["step"] for look in looks[0]] == [*range(0, steps, 7), steps]
    if method in ("online_dpo", "grpo", "watched", "ppo"):
        samples = [(tmp_path / which / "samples.jsonl").read_text() for which in ("killed", "whole")]
        assert samples[0] == samples[1]
        assert samples[0].count("\n") == (STEPS if method == "online_dpo" else 16) * 3 * 3


def test_half_a_line_and_later_lines_are_dropped_at_a_resume(tmp_path: Path) -> None:
    from charter.training.metrics import MetricsLog

    file = tmp_path / "metrics.jsonl"
    whole = "".join(json.dumps({"step": i, "loss": 1.0}) + "\n" for i in range(1, 6))
    for half in (b'{"step": 6, "lo', '{"step": 6, "text": "\u00e4'.encode()[:-1]):
        file.write_bytes(whole.encode() + half)
        log = MetricsLog(tmp_path, 3)
        log.write(4, {"loss": 0.5})
        log.close()
        assert steps_of(tmp_path) == [1, 2, 3, 4]


def test_newest_whole_checkpoint_is_read_and_half_built_ones_are_not(tmp_path: Path) -> None:
    for step in (3, 6):
        save_checkpoint(tmp_path, {"w": torch.full((2,), float(step))}, step, "print")
    half = tmp_path / ".building-xyz"
    half.mkdir()
    (half / "optimizer.safetensors").write_bytes(b"half")
    (tmp_path / "step-00000009").mkdir()
    found = load_checkpoint(tmp_path, "print")
    assert found is not None
    assert found[0] == 6
    assert found[1]["w"].tolist() == [6, 6]
    assert not half.exists()
    assert load_checkpoint(tmp_path / "nothing", "print") is None


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
