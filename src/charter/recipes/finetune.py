"""Fine-tuning that keeps what alignment put there: a task's rows, a way to protect, a model in OUT/model.

Each way is a published one; docs/finetune.md says what each does, costs and needs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from charter.document.marked import read_yaml
from charter.errors import UserError, nearest
from charter.feedback.formats import load
from charter.feedback.pairs import load_pairs
from charter.models.loading import ADAPTER_CONFIG, named_digest, resolve
from charter.recipes.preflight import check_trainable
from charter.recipes.recipe import explain
from charter.records import Demonstration, user_prompt, write_text
from charter.store.runfolder import RunFolder
from charter.training.methods.sft import SftSettings, train_sft
from charter.training.safety_weights import merged_folder, resta, safe_lora

Protect = Literal["none", "mix", "kl", "first-tokens", "safe-lora", "resta", "realign"]
PROTECTIONS: Final[tuple[Protect, ...]] = get_args(Protect)
DEFAULT: Final[Protect] = "mix"


class ProtectSettings(BaseModel):
    """How strongly each way protects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    safety_share: float = Field(0.1, gt=0, lt=1, description="mix: share of safety rows among all rows.")
    kl_weight: float = Field(0.1, gt=0, description="kl: weight of KL(base || policy) per token.")
    betas: tuple[float, float, float] = Field((0.5, 2.0, 0.1), description="first-tokens: of token 1, 2 to 5, later.")
    threshold: float = Field(0.5, ge=-1, le=1, description="safe-lora: layers less similar than this are projected.")
    strength: float = Field(0.5, gt=0, description="resta: how much of the safety vector is added.")
    drop: float = Field(0.0, ge=0, lt=1, description="resta: chance that an entry of the task's change is dropped.")
    realign_rows: int = Field(64, ge=1, description="realign: safety rows of the training that follows.")
    realign_learning_rate: float = Field(5e-5, gt=0, description="realign: its peak learning rate.")


class FinetuneSettings(BaseModel):
    """The task's own training, and the protection's strength."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sft: SftSettings = Field(SftSettings(), description="The training, as in `charter train sft`.")
    protect: ProtectSettings = Field(ProtectSettings(), description="The protection's strength.")

    @model_validator(mode="after")
    def _the_protection_sets_the_loss(self) -> Self:
        if self.sft.kl_weight or self.sft.constrain is not None:
            raise ValueError(
                "sft.kl_weight and sft.constrain are set by --protect; give their strength under `protect`"
            )
        if self.sft.lora is None:
            raise ValueError("sft.lora: null is not for `charter finetune`, which protects updates of adapters")
        return self


@dataclass(frozen=True)
class Finetuned:
    """A finished fine-tuning: its model, the rows of the task and of safety, and what the protection did."""

    model: Path
    protect: Protect
    task_rows: int
    safety_rows: int
    dropped: dict[str, int]
    detail: dict[str, Any]


def finetune(
    model: str,
    rows: Sequence[Demonstration],
    out: Path,
    protect: Protect = DEFAULT,
    settings: FinetuneSettings | None = None,
    *,
    safety: Sequence[Demonstration] = (),
    unaligned: str | None = None,
) -> Finetuned:
    """Train `model` on the task's rows and protect what alignment gave it; the result is `out/model`.

    safety: demonstrations of what must stay, for mix and realign; the built-in refusals when empty. unaligned: the
    model before its alignment, which safe-lora and resta need. Killed and run again, it goes on.
    Raises UserError when a way lacks what it needs or no row can be used.
    """
    settings = settings or FinetuneSettings()
    check_request(protect, unaligned, bool(safety))
    own, seed = settings.protect, settings.sft.seed
    task, kept = list(rows), list(safety) or built_in_safety()
    chosen: list[Demonstration] = []
    sft = settings.sft
    if protect == "mix":
        chosen = mixed_in(kept, len(task), own.safety_share, seed)
    elif protect == "kl":
        sft = sft.model_copy(update={"kl_weight": own.kl_weight})
    elif protect == "first-tokens":
        sft = sft.model_copy(update={"constrain": own.betas})
    with RunFolder(out).locked():
        _same_request(out, model, protect, settings, [*task, *chosen], unaligned)
        start = _start(model, out)
        trained = train_sft(start, [*task, *chosen], sft, out / "sft")
        result, detail = trained.model, dict[str, Any]()
        if protect == "safe-lora":
            assert unaligned is not None
            found = safe_lora(trained.model, start, unaligned, out / "projected", own.threshold)
            result, detail = out / "projected", {
                "similarity": dict(found.similarity),
                "projected": list(found.projected),
                "unchanged_by_alignment": list(found.unchanged_by_alignment),
            }  # fmt: skip
        elif protect == "resta":
            assert unaligned is not None
            norm = resta(str(trained.model), start, unaligned, out / "merged", own.strength, own.drop, seed)
            result, detail = out / "merged", {"safety_vector_norm": norm}
        elif protect == "realign":
            chosen = random.Random(seed).sample(kept, min(own.realign_rows, len(kept)))
            after = settings.sft.model_copy(update={"learning_rate": own.realign_learning_rate, "epochs": 1})
            again = train_sft(str(trained.model), chosen, after, out / "realign")
            result, detail = again.model, {"steps": again.result.steps}
        _put(result, out / "model")
        done = Finetuned(out / "model", protect, len(task), len(chosen), dict(trained.dropped), detail)
        told = {"model": model, "protect": protect, "task_rows": done.task_rows, "safety_rows": done.safety_rows,
                "dropped": done.dropped, "detail": detail}  # fmt: skip
        write_text(out / "finetune.json", json.dumps(told, indent=1) + "\n")
    return done


def check_request(protect: str, unaligned: str | None, safety: bool) -> None:
    """Raises UserError for a way that does not exist, lacks what it needs, or is given what it does not use."""
    if protect not in PROTECTIONS:
        known: list[str] = [*PROTECTIONS]
        raise UserError(
            f'--protect "{protect}" is no protection.{nearest(protect, known)} Give one of {", ".join(known)}.'
        )
    wants = protect in ("safe-lora", "resta")
    if wants and unaligned is None:
        raise UserError(
            f"--protect {protect} takes safety from the difference between the model and what it was before its "
            "alignment: name that model with --unaligned (for an adapter on smollm2, smollm2)."
        )
    if unaligned is not None and not wants:
        raise UserError(f"--unaligned does nothing with --protect {protect}: leave it out.")
    if safety and protect not in ("mix", "realign"):
        raise UserError(f"--safety does nothing with --protect {protect}: leave it out.")


def built_in_safety() -> list[Demonstration]:
    """The built-in refusals of harmful requests, and answers to look-alikes: refusing alone would teach refusing."""
    return [
        Demonstration(pair.id, user_prompt(pair.prompt), pair.chosen, pair.clauses, "charter")
        for pair in load_pairs(("harmful", "lookalike"))
        if pair.chosen
    ]


def mixed_in(safety: Sequence[Demonstration], task_rows: int, share: float, seed: int) -> list[Demonstration]:
    """Safety rows that make up `share` of all rows, drawn without repeats (Bianchi et al. 2023, arXiv 2309.07875)."""
    wanted = max(1, round(task_rows * share / (1 - share)))
    return random.Random(seed).sample(list(safety), min(wanted, len(safety)))


def read_settings(path: Path | None) -> FinetuneSettings:
    """Settings from a YAML file, or the defaults. Raises UserError naming the place of a mistake."""
    if path is None:
        return FinetuneSettings()
    marked = read_yaml(path)
    if not isinstance(marked.value or {}, dict):
        raise UserError(f"{path}: settings are a mapping with `sft:` and `protect:`.")
    try:
        return FinetuneSettings.model_validate(marked.value or {})
    except ValidationError as error:
        raise UserError(explain(error, marked, FinetuneSettings)) from None


def read_rows(data: str) -> list[Demonstration]:
    """Demonstrations in any shape that `charter train sft` takes."""
    return load(data).as_kind("demonstrations")[0]


def _start(model: str, out: Path) -> str:
    """What the task's adapter is put on: the model itself, or, of an adapter folder, the two as one."""
    check_trainable(model)
    folder = resolve(model)
    if not isinstance(folder, Path) or not (folder / ADAPTER_CONFIG).exists():
        return model
    start = out / "start"
    return str(start if (start / "config.json").exists() else merged_folder(model, start))


def _same_request(
    out: Path,
    model: str,
    protect: Protect,
    settings: FinetuneSettings,
    rows: Sequence[Demonstration],
    unaligned: str | None,
) -> None:
    """Refuse to go on in a folder that another request was begun in."""
    import hashlib

    content: list[Any] = [named_digest(model), protect, settings.model_dump(mode="json"), [repr(row) for row in rows]]
    content.append(named_digest(unaligned) if unaligned else None)
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path = out / "request.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")).get("digest") != digest:
        raise UserError(f"{out}: another fine-tuning was begun in this folder. Choose another --out, or remove it.")
    write_text(path, json.dumps({"digest": digest, "model": model, "protect": protect}, indent=1) + "\n")


def _put(result: Path, target: Path) -> None:
    """A copy of the result under the name that users look for, whole or not at all."""
    import shutil
    import tempfile

    from charter.models.lora import replace_folder

    with tempfile.TemporaryDirectory(prefix=".model-", dir=target.parent) as temporary:
        building = Path(temporary) / "model"
        shutil.copytree(result, building)
        replace_folder(building, target)
