"""The feedback sources of a data stage: from a recipe's settings to the functions of `charter.feedback`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from charter.document import Charter, Clause
from charter.feedback.ai_labels import (
    BY_CONTRAST,
    AiLabel,
    Comparable,
    by_contrast,
    by_options,
    preferences_of,
)
from charter.feedback.answers import Labelled, Said, said
from charter.feedback.contrast import contrast_pairs, contrast_prompts
from charter.feedback.distillation import OWN, Gate, distil_contexts
from charter.feedback.distillation_report import drawing, report_of
from charter.feedback.label_quality import place_bias
from charter.feedback.pairs import BuiltinPair, load_pairs
from charter.feedback.preprompts import GENERIC, SHOTS
from charter.feedback.prompt_mix import MixedPrompt, builtin_prompts, file_prompts, taught_clauses
from charter.feedback.revision import SHOTS as WORKED
from charter.feedback.revision import Better, label_revisions, revise
from charter.feedback.safety import JudgedSafety, RewardedSafety, SafetyScore
from charter.ports import Judge
from charter.progress import Bar
from charter.recipes.feedback_sources import (
    ContrastSource,
    DistillationSource,
    LabelsSource,
    Prompts,
    RevisionSource,
)
from charter.recipes.recipe import Recipe
from charter.recipes.rewards import reward_of
from charter.recipes.voices import Voices
from charter.records import Sampling, write_text
from charter.training.reward_sources import RewardPart

DISTILLATION, DISTILLATION_DRAWING, LABELS = "distillation.json", "distillation.svg", "labels.json"


def feedback_rows(
    recipe: Recipe, charter: Charter, voices: Voices, judge: Judge, folder: Path, pairs: Sequence[BuiltinPair]
) -> list[Labelled]:
    """The rows of every feedback source that the recipe names, in their order. Reports go to `folder`."""
    data = recipe.data
    out: list[Labelled] = []
    if data.contrast is not None:
        out.append(_weighed(_contrast(data.contrast, recipe, charter, voices, judge, pairs), data.contrast.weight))
    if data.distillation is not None:
        out.append(_distillation(data.distillation, recipe, charter, voices, judge, folder))
    if data.revision is not None:
        out.append(_weighed(_revision(data.revision, recipe, charter, voices, judge), data.revision.weight))
    if data.labels is not None:
        out.append(_labels(data.labels, recipe, charter, voices, folder))
    return out


def _contrast(
    own: ContrastSource, recipe: Recipe, charter: Charter, voices: Voices, judge: Judge, pairs: Sequence[BuiltinPair]
) -> Labelled:
    questions = contrast_prompts(charter, pairs or load_pairs(), own.prompts)
    sampling = Sampling(own.sample_tokens, own.temperature, n=own.samples, seed=recipe.seed)
    voice = voices.policy
    with Bar("contrast from the charter", 2 * own.samples * len(questions), "answers") as bar:
        return contrast_pairs(
            charter,
            questions,
            voice.text,
            judge,
            sampling,
            lambda done, _: bar.update(done),
            label=own.label,
            likelihood=voice.likelihood if own.label in ("likelihood", "both") else None,
            min_margin=own.min_margin,
        )


def _distillation(
    own: DistillationSource, recipe: Recipe, charter: Charter, voices: Voices, judge: Judge, folder: Path
) -> Labelled:
    prompts = mixed(own.prompts, recipe.seed)
    sampling = Sampling(own.sample_tokens, own.temperature, n=own.samples, seed=recipe.seed)
    floor = 0.5 if own.floor is None and own.gate is not None and not own.safety else own.floor
    with Bar("context distillation", (2 + own.samples) * len(prompts), "answers") as bar:
        done = distil_contexts(
            prompts,
            taught_clauses(charter, own.clauses),
            voices.policy.text,
            _safety(own.safety, judge),
            judge,
            sampling,
            threshold=own.threshold,
            gate=Gate(own.gate, floor, own.min_margin),
            likelihood=voices.policy.likelihood if own.min_margin is not None else None,
            own_answers=own.own_answers,
            pairs=own.pairs,
            sentences=own.sentences,
            text=own.preprompt or GENERIC,
            shots=SHOTS if own.shots else (),
            progress=lambda now, _: bar.update(now),
        )
    report = report_of(done)
    write_text(folder / DISTILLATION, json.dumps(report.as_json(), indent=1))
    write_text(folder / DISTILLATION_DRAWING, drawing(report))
    return _weighed(done.labelled, own.weight, whole=OWN)


def _revision(own: RevisionSource, recipe: Recipe, charter: Charter, voices: Voices, judge: Judge) -> Labelled:
    prompts = mixed(own.prompts, recipe.seed)
    clauses = taught_clauses(charter, own.clauses)
    sampling = Sampling(own.answer_tokens, own.temperature, seed=recipe.seed)
    with Bar("critique and revision", (1 + 2 * own.rounds) * len(prompts), "answers") as bar:
        rows = revise(
            prompts,
            clauses,
            voices.policy.text,
            voices.critic.text,
            sampling,
            own.rounds,
            shots=WORKED if own.shots else (),
            critique_tokens=own.critique_tokens,
            progress=lambda done, _: bar.update(done),
        )
    better: Better = LabellerAgrees(voices) if own.agree == "labeller" else SafetyAgrees(_safety(own.safety, judge))
    return label_revisions(rows, better, own.rounds, pairs=own.pairs)


def _labels(own: LabelsSource, recipe: Recipe, charter: Charter, voices: Voices, folder: Path) -> Labelled:
    prompts = mixed(own.prompts, recipe.seed)
    sampling = Sampling(own.sample_tokens, own.temperature, n=2, seed=recipe.seed)
    with Bar("answers to compare", 2 * len(prompts), "answers") as bar:
        answers = voices.policy.text.generate(
            [prompt.prompt for prompt in prompts], sampling, lambda done, _: bar.update(done)
        )
    pairs = [Comparable(prompt, said(one), said(two)) for prompt, (one, two) in zip(prompts, answers, strict=True)]
    rows = [row for row in pairs if row.first.text and row.second.text and row.first.text != row.second.text]
    with Bar("labels", len(rows), "pairs") as bar:
        labels = _labelled(own, recipe, taught_clauses(charter, own.clauses), voices, rows, bar)
    rater = f"{BY_CONTRAST} (no labeller named)" if recipe.labeller is None else recipe.labeller
    out = preferences_of(rows, labels, rater, abstain=own.abstain, soft=own.soft, weight=own.weight)
    if len(rows) < len(pairs):
        out.counts["labels: nothing to compare, empty or equal answers"] += len(pairs) - len(rows)
    report = {"rater": rater, "counts": dict(out.counts), "place": asdict(place_bias(labels))}
    write_text(folder / LABELS, json.dumps(report, indent=1))
    return out


def _labelled(
    own: LabelsSource,
    recipe: Recipe,
    clauses: Sequence[Clause],
    voices: Voices,
    rows: Sequence[Comparable],
    bar: Bar,
) -> list[AiLabel]:
    def report(done: int, total: int) -> None:
        bar.update(len(rows) * done // max(total, 1))

    if recipe.labeller is None:
        return by_contrast(
            rows, clauses, voices.policy.likelihood, ensemble=own.ensemble, seed=recipe.seed, progress=report
        )
    return by_options(
        rows,
        clauses,
        voices.labeller.likelihood,
        ensemble=own.ensemble,
        seed=recipe.seed,
        thinker=voices.labeller.text if own.chain_of_thought else None,
        clamp=own.clamp,
        progress=report,
    )


@dataclass(frozen=True)
class SafetyAgrees:
    """A revision is better where its safety score is higher."""

    safety: SafetyScore

    @property
    def name(self) -> str:
        return self.safety.name

    def better(
        self, prompts: Sequence[MixedPrompt], clauses: Sequence[Clause], first: Sequence[str], second: Sequence[str]
    ) -> list[float | None]:
        """1, 0, or one half where the scores are equal."""
        del clauses
        return [
            None if a is None or b is None else 0.5 + 0.5 * ((b > a) - (b < a))
            for a, b in zip(self.safety.scores(prompts, first), self.safety.scores(prompts, second), strict=True)
        ]


@dataclass(frozen=True)
class LabellerAgrees:
    """A revision is better where the labeller prefers it under the clause of the first round, over both orders."""

    voices: Voices

    @property
    def name(self) -> str:
        return self.voices.labeller.name

    def better(
        self, prompts: Sequence[MixedPrompt], clauses: Sequence[Clause], first: Sequence[str], second: Sequence[str]
    ) -> list[float | None]:
        """The labeller's chance for the second answer."""
        chances: list[float | None] = [None] * len(prompts)
        for clause in {clause.id: clause for clause in clauses}.values():
            mine = [i for i, one in enumerate(clauses) if one.id == clause.id]
            rows = [Comparable(prompts[i], Said(second[i], True), Said(first[i], True)) for i in mine]
            for i, label in zip(mine, by_options(rows, [clause], self.voices.labeller.likelihood), strict=True):
                chances[i] = label.chance
        return chances


def mixed(prompts: Prompts, seed: int) -> list[MixedPrompt]:
    """The prompts that a source asks."""
    found = builtin_prompts(prompts.red_team, prompts.lookalikes, prompts.general, seed)
    for file in prompts.prompt_files:
        found += file_prompts(file.path, file.split, file.kind, file.limit, seed)
    return found


def _safety(parts: Sequence[RewardPart], judge: Judge) -> SafetyScore:
    if not parts:
        return JudgedSafety(judge)
    return RewardedSafety(reward_of(parts), " + ".join(part.label for part in parts))


def _weighed(rows: Labelled, weight: float, whole: str = "") -> Labelled:
    """The rows at so much weight; demonstrations of the source `whole` keep theirs."""
    return Labelled(
        [row if row.source == whole else replace(row, weight=row.weight * weight) for row in rows.demonstrations],
        [replace(row, strength=row.strength * weight) for row in rows.preferences],
        rows.counts,
    )
