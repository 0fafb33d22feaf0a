"""The pages under docs/methods name every method and every option, with the default that the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from charter.training.catalogue import CATALOGUE, method
from charter.training.methods.pairs import PairSettings
from charter.training.settings import TrainSettings

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
    own = {option for option in fields if option not in TrainSettings.model_fields and option != "method"}
    if name == "kto":
        own.add("batch_size")
    want = {name: "required" if fields[name].is_required() else _yaml(fields[name].default) for name in own}
    assert options(section) == want


def _yaml(default: object) -> str:
    if isinstance(default, str) and not default.isprintable():
        return json.dumps(default)
    return "null" if default is None else str(default)


def test_the_shared_options_stand_in_the_overview() -> None:
    text = (DOCS / "README.md").read_text()
    shared = set(TrainSettings.model_fields)
    assert {option for option in shared if f"`{option}`" in text} == shared
    assert float(options(text)["learning_rate"]) == PairSettings().learning_rate
    for option in ("epochs", "batch_size", "warmup", "schedule", "max_tokens", "row_tokens", "save_every", "seed"):
        assert options(text)[option] == str(TrainSettings.model_fields[option].default)
