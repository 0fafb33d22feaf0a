"""Reward models trained apart and read together: one base in memory, each one's own values, one reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import byte_tokenizer, exchanges, preferences, tiny_folder

from charter.errors import UserError
from charter.models.lora import LoraSettings
from charter.models.several import load_several
from charter.training.methods.cost import CostSettings, train_cost
from charter.training.methods.reward import RewardSettings, train_reward
from charter.training.reward_model import RewardModel
from charter.training.reward_sources import RewardPart

ROWS = exchanges(preferences())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base") / "model")


def trained(base: Path, folder: Path, seed: int, lora: bool = True, heads: int = 1) -> str:
    how = RewardSettings(
        epochs=2, batch_size=4, learning_rate=1e-2, seed=seed, heads=heads, lora=LoraSettings(r=4) if lora else None
    )
    return str(train_reward(str(base), preferences(), how, folder / f"{seed}{lora}").model)


@pytest.mark.parametrize("forms", [(True, True, True), (True, False), (False, True, True)])
def test_an_ensemble_has_the_values_of_its_models(base: Path, tmp_path: Path, forms: tuple[bool, ...]) -> None:
    names = [trained(base, tmp_path, seed, lora, heads=1 + seed % 2) for seed, lora in enumerate(forms)]
    alone = [RewardModel(name).reward(ROWS) for name in names]
    together = RewardModel(names, "worst").reward(ROWS)
    for place, row in enumerate(together):
        values = [value for model in alone for value in model[place].heads]
        assert row.heads == tuple(values)
        assert row.reward == min(values)
    assert len({row.heads for row in together}) > 1
    assert RewardModel(names).reward(ROWS)[0].reward == pytest.approx(sum(together[0].heads) / len(together[0].heads))


def test_adapters_of_one_base_share_it(base: Path, tmp_path: Path) -> None:
    names = [trained(base, tmp_path, seed) for seed in range(3)]
    members = load_several(names)
    assert len({id(member.local.model) for member in members}) == 1
    assert len({member.local.digest for member in members}) == 3
    model: Any = members[0].local.model
    plain: Any = load_several([str(base)])[0].local.model
    own = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" not in name)
    assert own == sum(weight.numel() for weight in plain.parameters())
    ids = torch.arange(8)[None]
    first = model(ids).logits
    members[1].use()
    assert not torch.equal(model(ids).logits, first)
    members[0].use()
    assert torch.equal(model(ids).logits, first)


def test_what_cannot_be_read_together_is_refused(base: Path, tmp_path: Path) -> None:
    one = trained(base, tmp_path, 0)
    cost = train_cost(str(base), preferences(chosen_safe=True), CostSettings(lora=None), tmp_path / "cost")
    with pytest.raises(UserError, match='of the kind "cost"'):
        RewardModel([one, str(cost.model)])
    with pytest.raises(UserError, match="each once"):
        RewardModel([one, one])
    with pytest.raises(UserError, match="one reward head"):
        RewardModel([one], "worst")
    other = tiny_folder(tmp_path / "other")
    byte_tokenizer(special=("<|im_end|>", "<|im_start|>"), eos_token="<|im_end|>").save_pretrained(other)
    with pytest.raises(UserError, match="other tokenizers"):
        RewardModel([one, trained(other, tmp_path / "more", 1)])


def test_a_run_names_one_folder_or_several() -> None:
    assert RewardPart(model="a").folders == ("a",)
    assert RewardPart.model_validate({"model": ["a", "b"], "read": "worst"}).folders == ("a", "b")
    assert RewardPart(judge="refusal").folders == ()
