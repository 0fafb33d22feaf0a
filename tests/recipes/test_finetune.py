"""charter finetune on tiny models: every protection from end to end, what each needs, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from charter.cli.main import app
from charter.errors import UserError
from charter.models.loading import load_model, model_digest
from charter.recipes.finetune import (
    PROTECTIONS,
    Finetuned,
    FinetuneSettings,
    built_in_safety,
    check_request,
    finetune,
    mixed_in,
    read_settings,
)
from charter.records import Demonstration, user_prompt
from charter.training.methods.sft import SftSettings, train_sft

TASK = [Demonstration(f"t{i}", user_prompt(f"Count to {i}."), " ".join(map(str, range(i)))) for i in range(2, 14)]
SAFE = [Demonstration(f"s{i}", user_prompt(f"Break thing {i}."), "I won't.") for i in range(6)]
SETTINGS = FinetuneSettings(sft=SftSettings(batch_size=6, learning_rate=5e-3, epochs=2))


@pytest.fixture(scope="module")
def aligned(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the tiny model: its alignment."""
    folder = tmp_path_factory.mktemp("aligned")
    return train_sft(str(tiny_base), SAFE, SftSettings(batch_size=6, learning_rate=5e-3, epochs=4), folder).model


def run(protect: str, aligned: Path, tiny_base: Path, out: Path) -> Finetuned:
    unaligned = str(tiny_base) if protect in ("safe-lora", "resta") else None
    safety = SAFE if protect in ("mix", "realign") else []
    return finetune(str(aligned), TASK, out, protect, SETTINGS, safety=safety, unaligned=unaligned)  # type: ignore[arg-type]


@pytest.mark.parametrize("protect", PROTECTIONS)
def test_every_way_gives_a_model(protect: str, aligned: Path, tiny_base: Path, tmp_path: Path) -> None:
    done = run(protect, aligned, tiny_base, tmp_path / "run")
    assert done.model == tmp_path / "run" / "model"
    assert load_model(str(done.model)).model is not None
    assert done.task_rows == 12
    assert done.safety_rows == {"mix": 1, "realign": 6}.get(protect, 0)
    told = json.loads((tmp_path / "run" / "finetune.json").read_text())
    assert told["protect"] == protect
    steps = [json.loads(line) for line in (tmp_path / "run" / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert ("kl" in steps[-1]) == (protect == "kl")
    assert ("drift" in steps[-1]) == (protect == "first-tokens")
    if protect == "safe-lora":
        assert told["detail"]["similarity"]
    if protect == "none":
        # Run again: nothing is trained, the same model stands there; another request is refused.
        before = model_digest(done.model)
        run(protect, aligned, tiny_base, tmp_path / "run")
        assert model_digest(done.model) == before
        with pytest.raises(UserError, match="another fine-tuning"):
            run("kl", aligned, tiny_base, tmp_path / "run")


def test_each_way_says_what_it_lacks_and_what_it_does_not_use() -> None:
    with pytest.raises(UserError, match="--unaligned"):
        check_request("safe-lora", None, False)
    with pytest.raises(UserError, match="does nothing with --protect mix"):
        check_request("mix", "smollm2", False)
    with pytest.raises(UserError, match="--safety does nothing"):
        check_request("kl", None, True)
    with pytest.raises(UserError, match=r"safe-lora"):
        check_request("safelora", None, False)


def test_the_share_of_safety_rows_is_of_all_rows() -> None:
    kept = built_in_safety()
    assert len(kept) > 200
    assert len(mixed_in(kept, 900, 0.1, 0)) == 100
    assert mixed_in(kept, 900, 0.1, 0) == mixed_in(kept, 900, 0.1, 0) != mixed_in(kept, 900, 0.1, 1)
    assert len(mixed_in(kept, 10**6, 0.1, 0)) == len(kept)


def test_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("sft: {epochs: 2}\nprotect: {kl_weigth: 1}\n")
    with pytest.raises(UserError, match="kl_weight"):
        read_settings(path)
    path.write_text("sft: {kl_weight: 0.5}\n")
    with pytest.raises(UserError, match="--protect"):
        read_settings(path)
    path.write_text("protect: {safety_share: 0.2}\n")
    assert read_settings(path).protect.safety_share == 0.2


def test_on_the_command_line(aligned: Path, tmp_path: Path) -> None:
    data = tmp_path / "task.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Say {i}.", "completion": f"{i}!"}) + "\n" for i in range(4)))
    done = CliRunner().invoke(
        app, ["finetune", "--model", str(aligned), "--data", str(data), "--out", str(tmp_path / "o")]
    )
    assert done.exit_code == 0, done.output
    assert "4 rows of the task and 1 of safety" in done.output
    assert (tmp_path / "o" / "model" / "adapter_config.json").exists()
    refused = CliRunner().invoke(
        app,
        ["finetune", "--model", str(aligned), "--data", str(data), "--out", str(tmp_path / "p"), "--protect", "resta"],
    )
    assert isinstance(refused.exception, UserError)
    assert not (tmp_path / "p").exists()
