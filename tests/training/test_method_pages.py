"""The pages under docs/methods name every method and every option, with the default that the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from charter.models.lora import LoraSettings
from charter.training.catalogue import CATALOGUE, method
from charter.training.methods.pairs import PairSettings
from charter.training.settings import TrainSettings
from charter.training.watch_settings import WatchSettings

DOCS = Path(__file__).parents[2] / "docs" / "methods"


def options(text: str) -> dict[str, str]:
    """Option → default, from the rows of a table."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, flags=re.M))


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_option_stands_on_the_methods_page(name: str) -> None:
    line = next(line for line in (DOCS / "README.md").read_text().splitlines() if f"`{name}`" in line)
    (page,) = re.findall(r"\]\((\w+\.md)\)", line)
    section = (DOCS / page).read_text().split(f"## Options of `{name}`")[1].split("\n## ")[0]
    fields = method(name).settings.model_fields
    # The watch is one for all, on a page of its own.
    own = {option for option in fields if option not in TrainSettings.model_fields} - {"method", "watch"}
    if name == "kto":
        own.add("batch_size")
    want = {name: "required" if fields[name].is_required() else _yaml(fields[name].default) for name in own}
    assert options(section) == want


def test_the_options_of_the_watch_stand_on_its_page() -> None:
    text = (DOCS.parent / "reward_hacking.md").read_text()
    section = text.split("## Options of `watch`")[1].split("\n## ")[0]
    want = {name: _yaml(field.default) for name, field in WatchSettings.model_fields.items()}
    assert options(section) == {**want, "truth": "none", "suites": ", ".join(WatchSettings().suites)}


def test_the_options_of_adapters_stand_in_the_overview() -> None:
    section = (DOCS / "README.md").read_text().split("## Options of `lora`")[1].split("\n## ")[0]
    assert options(section) == {name: _yaml(field.default) for name, field in LoraSettings.model_fields.items()}


def _yaml(default: object) -> str:
    if isinstance(default, bool) or default is None:
        return {None: "null", True: "true", False: "false"}[default]
    if isinstance(default, str) and not default.isprintable():
        return json.dumps(default)
    return str(default)


def test_the_shared_options_stand_in_the_overview() -> None:
    text = (DOCS / "README.md").read_text()
    section = text.split("## Options of every method")[1].split("\n## ")[0]
    found = options(section)
    assert float(found.pop("learning_rate")) == PairSettings().learning_rate
    lora = LoraSettings()
    assert found.pop("lora") == f"r {lora.r}, alpha {lora.alpha}"
    together = re.search(r"^\| `betas`, `eps` \| ([^|]+) \|", section, flags=re.M)
    plain = TrainSettings()
    assert together is not None
    assert together[1] == f"{plain.betas}, {plain.eps:.0e}".replace("e-0", "e-")
    spelt_out = {"learning_rate", "lora", "betas", "eps"}
    assert found == {
        name: _yaml(field.default) for name, field in TrainSettings.model_fields.items() if name not in spelt_out
    }
