"""Distillation: the student's distribution at every completion token is pulled to a teacher's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from charter.errors import UserError
from charter.records import Demonstration, Sampling
from charter.training.divergence import Comparison, Direction
from charter.training.loop import train
from charter.training.methods.base import Method, Trained, finish, need_rows
from charter.training.methods.kl import KlObjective
from charter.training.methods.likelihood import SftObjective
from charter.training.policy import trainable_policy
from charter.training.rows import single_groups
from charter.training.settings import TrainSettings
from charter.training.teacher import TAUGHT, TeacherPrompt, preprompted, same_prompt, teacher_of


class DistillSettings(TrainSettings):
    """Distillation of one model into another (Hinton et al. 2015; on token distributions, Kim and Rush 2016)."""

    method: Literal["distill"] = "distill"
    teacher: str = Field(description="One-string name of the teacher; any size, the same vocabulary.")
    completions: Literal["given", "teacher"] = Field(
        "given", description="Whose completions: the data's, or the teacher's own, sampled before training."
    )
    sample_tokens: int = Field(128, ge=1, description="Length to which the teacher answers. With completions: teacher.")
    sample_temperature: float = Field(
        1.0, ge=0, description="Temperature of its answers, 0 for greedy. With completions: teacher."
    )
    teacher_prompt: Literal["same", "preprompt"] = Field(
        "same",
        description="What the teacher is asked: the row's prompt, or the question under the pre-prompt that made the "
        "row (data.distillation), which is context distillation.",
    )
    direction: Direction = Field("forward", description="forward: KL(teacher || student); reverse: the other way.")
    top_k: int = Field(64, ge=1, description="The teacher's most likely tokens kept per position; the rest is one.")
    temperature: float = Field(1.0, gt=0, description="Both sides' logits are divided by it; the loss has its square.")
    nll_weight: float = Field(0.0, ge=0, description="Weight of the completion's own likelihood beside the divergence.")

    @model_validator(mode="after")
    def _samples_are_used(self) -> Self:
        for option in ("sample_tokens", "sample_temperature"):
            if self.completions == "given" and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"{option} does nothing with completions: given; set completions: teacher")
        return self


def train_distill(
    model: str,
    rows: Sequence[Demonstration],
    settings: DistillSettings,
    folder: Path,
    teacher_prompt: TeacherPrompt = same_prompt,
) -> Trained:
    """Distil `settings.teacher` into `model` on the rows' prompts; the result is `folder/model`.

    teacher_prompt: what the teacher is asked in the place of a row's prompt. With instructions that the student's
    prompt lacks this is context distillation (Askell et al. 2021, arXiv 2112.00861); the teacher may be `model` itself.
    Raises UserError when the two do not share a vocabulary or no row can be used.
    """
    policy = trainable_policy(model, settings.lora, settings.seed)
    if settings.teacher_prompt == "preprompt":
        if not any(row.made and row.made.prompt_of(TAUGHT) for row in rows):
            raise UserError(
                "distillation: `teacher_prompt: preprompt` needs rows that were made under a pre-prompt, and there are "
                "none. Add `distillation: {}` to the recipe's data, or leave teacher_prompt out."
            )
        teacher_prompt = preprompted
    teacher = teacher_of(settings.teacher, policy.format, teacher_prompt)
    kept = folder / "teacher"
    failed: Counter[str] = Counter()
    asked = len(rows)
    if settings.completions == "teacher":
        sampling = Sampling(settings.sample_tokens, settings.sample_temperature, seed=settings.seed)
        rows, failed = teacher.answers(rows, sampling, kept)
    groups, weights, dropped = single_groups(rows, policy.format, settings.max_tokens)
    dropped.update(failed)
    need_rows(groups, range(asked), dropped, "distillation")
    top = teacher.top_tokens(
        rows,
        groups,
        policy.model,
        kept,
        k=settings.top_k,
        temperature=settings.temperature,
        row_tokens=settings.row_tokens,
    )
    teacher.dismiss()
    how = Comparison(settings.direction, settings.temperature, likelihood=settings.nll_weight > 0)
    objective = KlObjective(SftObjective(weights), how, top, kl_weight=1.0, nll_weight=settings.nll_weight)
    identity = f"{policy.digest} {top.digest}"
    result = train(policy.model, objective, groups, settings, folder, title="distillation", identity=identity)
    return finish(policy, folder, len(groups), dropped, result)


METHOD = Method(DistillSettings, train_distill)
