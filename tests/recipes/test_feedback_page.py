"""docs/feedback.md names every option of the feedback sources, with the default that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from charter.recipes.feedback_sources import (
    ContrastSource,
    DistillationSource,
    LabelsSource,
    Prompts,
    RevisionSource,
)

PAGE = Path(__file__).parents[2] / "docs" / "feedback.md"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("prompts", Prompts),
        ("contrast", ContrastSource),
        ("distillation", DistillationSource),
        ("revision", RevisionSource),
        ("labels", LabelsSource),
    ],
)
def test_every_option_stands_on_the_page(name: str, settings: type[BaseModel]) -> None:
    section = PAGE.read_text().split(f"## Options of `{name}`")[1].split("\n## ")[0]
    found = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, flags=re.M))
    assert found == {option: _yaml(field.default) for option, field in settings.model_fields.items()}


def _yaml(default: object) -> str:
    if isinstance(default, Prompts):
        return "see above"
    if isinstance(default, bool) or default is None:
        return {None: "null", True: "true", False: "false"}[default]
    return str(default)
