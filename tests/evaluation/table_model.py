"""A model provider for Inspect that answers from a function: real runs of any task, with known answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inspect_ai.model import GenerateConfig, Model, ModelAPI, ModelOutput, get_model, modelapi

Answers = Callable[[str], str]
_ANSWERS: dict[str, Answers] = {}


class TableModel(ModelAPI):
    """Answers with a function of the last message; an answer of "!" is a failing server."""

    def __init__(self, model_name: str, config: GenerateConfig, **_: Any) -> None:
        super().__init__(model_name, config=config)

    async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:  # noqa: ARG002
        text = _ANSWERS[self.model_name](input[-1].text)
        if text == "!":
            raise RuntimeError("the server went away")
        return ModelOutput.from_content("table", text)


@modelapi(name="table")
def table() -> type[ModelAPI]:
    """The provider as Inspect looks it up: table/NAME."""
    return TableModel


def table_model(answers: Answers, name: str = "one") -> Model:
    """A model of that name; sides that count as one model share a name."""
    _ANSWERS[name] = answers
    return get_model(f"table/{name}", memoize=False)
