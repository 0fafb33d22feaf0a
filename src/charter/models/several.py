"""Several models loaded at once: adapters of one base share its weights in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charter.models.loading import DTypeName, LocalModel, load_model, model_digest, places


@dataclass(frozen=True)
class Member:
    """One of several models; `use` must be called before it runs, as the model may hold other members' adapters."""

    local: LocalModel
    adapter: str | None

    def use(self) -> None:
        """Switch this member's adapter on, and those of all others off."""
        if self.adapter is not None:
            model: Any = self.local.model
            model.set_adapter(self.adapter, inference_mode=True)


def load_several(names: Sequence[str], dtype: DTypeName = "auto") -> list[Member]:
    """Load models for inference, adapters not merged, in the order of their names.

    Adapters of one base are put on one copy of it; every other model is loaded by itself.
    Raises UserError as `load_model` does.
    """
    first_of: dict[str, LocalModel] = {}
    members: list[Member] = []
    for number, name in enumerate(names):
        base, adapter = places(name)
        shared = first_of.get(str(base)) if adapter else None
        if shared is None or adapter is None:
            local = load_model(name, dtype, merge=False)
            if adapter:
                first_of[str(base)] = local
            members.append(Member(local, "default" if adapter else None))
            continue
        model: Any = shared.model
        model.load_adapter(str(adapter), adapter_name=f"member-{number}", autocast_adapter_dtype=False)
        local = LocalModel(name, shared.model, shared.tokenizer, model_digest(base, adapter))
        members.append(Member(local, f"member-{number}"))
    return members
