"""What can be known to fail before an hour of work: the model, its chat template, the data files, the gate's names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from charter.document import Charter
from charter.errors import UserError, nearest
from charter.evaluation import suite_names
from charter.models.loading import resolve
from charter.models.names import is_endpoint
from charter.models.reward_head import refuse_head
from charter.recipes.data_stage import needs_model
from charter.recipes.file_source import check_files
from charter.recipes.recipe import Recipe
from charter.recipes.rewards import aims_of, check_rewards
from charter.recipes.watching import check_watch
from charter.training.catalogue import CATALOGUE
from charter.training.devices import launched
from charter.training.extras import check_installed
from charter.training.methods import DistillSettings
from charter.training.rollouts import RolloutSettings

METRIC_SUITES: Mapping[str, str] = {
    "harmful_refused": "harmful_requests",
    "harmful_refused_at_all": "harmful_requests",
    "benign_answered": "benign_lookalikes",
    "instruction_following": "instruction_following",
    "knowledge": "knowledge",
}


PREFERENCE_ACCURACY = "preference_accuracy"


def check_recipe(recipe: Recipe) -> None:
    """Raises UserError for names, files or a model that a later stage would fail on."""
    if not any(CATALOGUE[stage.method].gives == "policy" for stage in recipe.train):
        raise UserError(
            "train: no stage trains the model itself, only reward models, so there is nothing to compare with its "
            "start. Add a stage such as `- method: dpo`, or use `charter train reward`."
        )
    known = list(suite_names())
    for suite in recipe.suites:
        if suite not in known:
            raise UserError(f'suites: there is no suite "{suite}".{nearest(suite, known)} Known: {", ".join(known)}.')
    for metric in recipe.gate or {}:
        if metric != PREFERENCE_ACCURACY:
            _check_metric(metric, recipe.suites)
        elif not any(source.holdout for source in recipe.data.files):
            raise UserError(f"gate: {metric} needs held-out pairs. Set `holdout` on one of data.files.")
    if not (recipe.data.files or needs_model(recipe.data)):
        raise UserError(
            "data: names no source. Give pairs, benign, contrast or files; `data: {pairs: {}}` is the built-in set."
        )
    for stage in recipe.train:
        check_installed(stage)
    check_files(recipe)
    check_trainable(recipe.model)
    refuse_head(recipe.model)
    check_teachers(recipe)
    for number, stage in enumerate(recipe.train):
        if isinstance(stage, RolloutSettings):
            if launched()[1] > 1:
                raise UserError(f"train: {stage.method} runs in one process so far. Start it without torchrun.")
            check_rewards(aims_of(stage), [before.method for before in recipe.train[:number]])
        check_watch(stage, [before.method for before in recipe.train[:number]])


def check_clauses(recipe: Recipe, charter: Charter) -> None:
    """Raises UserError for a reward that serves a clause which the charter does not have."""
    for stage in recipe.train:
        if isinstance(stage, RolloutSettings):
            for part in aims_of(stage):
                for clause in part.clauses:
                    charter.clause(clause)


def check_teachers(recipe: Recipe) -> None:
    """Raises UserError for a teacher that is no model or does not share the model's vocabulary."""
    for stage in recipe.train:
        if isinstance(stage, DistillSettings):
            from charter.models.template import chat_format
            from charter.models.tokenizer import load_tokenizer
            from charter.training.teacher import teacher_of

            teacher_of(stage.teacher, chat_format(load_tokenizer(recipe.model)))


def check_trainable(model: str) -> None:
    """Raises UserError when `model` cannot be trained: an endpoint, no model, or a template that cannot be masked.

    Reads the tokenizer only; the weights of a large model take minutes.
    """
    if is_endpoint(model):
        raise UserError(
            f'model: "{model}" is an endpoint; its weights cannot be trained from here. Name a folder, '
            "`smollm2` or a hub id."
        )
    folder = resolve(model)
    if not isinstance(folder, Path) or not (folder / "tokenizer_config.json").exists():
        return  # a hub id, or an adapter without a tokenizer of its own: loading says what is wrong
    if not [*folder.glob("*.safetensors"), *folder.glob("*.bin")]:
        raise UserError(f"{folder}: holds no weights (*.safetensors). Give the folder that `save_pretrained` wrote.")
    from transformers import AutoTokenizer

    from charter.models.template import chat_format

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:
        # A stranger's folder fails in many ways; to the user they all mean that the tokenizer cannot be read.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{folder}: its tokenizer cannot be loaded ({reason}). Save the model again.") from error
    try:
        chat_format(tokenizer)
    except UserError as error:
        raise UserError(f"{model}: {error}") from None


def _check_metric(metric: str, suites: Collection[str]) -> None:
    suite, _, name = metric.rpartition("/")
    if name not in METRIC_SUITES or suite not in ("", METRIC_SUITES[name]):
        known = list(METRIC_SUITES)
        raise UserError(f'gate: there is no metric "{metric}".{nearest(name, known)} Known: {", ".join(known)}.')
    if METRIC_SUITES[name] not in suites:
        raise UserError(
            f'gate: "{metric}" is measured by the suite "{METRIC_SUITES[name]}", which `suites` does not name. Add it '
            "there, or take the metric out of the gate."
        )
