"""A model's tokenizer alone: what length and template questions need, without loading weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.errors import UserError
from charter.models.loading import resolve
from charter.models.names import is_endpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model by its one-string name. Raises UserError when there is none to be had."""
    if is_endpoint(name):
        raise UserError(
            f'"{name}" is an endpoint, whose tokenizer cannot be read. Name a folder, `smollm2` or a hub id with the '
            "same tokenizer."
        )
    folder = resolve(name)
    if isinstance(folder, Path) and not (folder / "tokenizer_config.json").exists():
        raise UserError(f"{folder}: holds no tokenizer (tokenizer_config.json). Name the folder of the base model.")
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:
        # A stranger's folder fails in many ways; to the user they all mean that the tokenizer cannot be read.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name}: its tokenizer cannot be loaded ({reason}). Save the model again.") from error
    return tokenizer  # type: ignore[no-any-return]
