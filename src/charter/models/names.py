"""One string names a model: this module turns it into something that answers prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.errors import UserError
from charter.models.loading import DTypeName

if TYPE_CHECKING:
    from charter.models.endpoint import EndpointSettings
    from charter.ports import TextModel


def is_endpoint(name: str) -> bool:
    """Whether the name is an OpenAI-compatible server rather than weights in this process."""
    return name.startswith("openai:")


def text_model(name: str, dtype: DTypeName = "auto", endpoint: EndpointSettings | None = None) -> TextModel:
    """A model that answers prompts: `openai:http://host:port/v1#name`, or anything `load_model` takes.

    endpoint: how a server is asked; its defaults when left out.
    Raises UserError when the name is no model.
    """
    if name.startswith("vllm:"):
        raise UserError(
            f'"{name}": in-process vLLM is not supported by this version. Serve the model with `vllm serve` and name '
            "it `openai:http://host:port/v1#name`."
        )
    if is_endpoint(name):
        from charter.models.endpoint import EndpointModel, EndpointSettings

        return EndpointModel.from_name(name, endpoint or EndpointSettings())
    from charter.models.generation.local import LocalTextModel
    from charter.models.loading import load_model

    return LocalTextModel(load_model(name, dtype))
