"""`charter align`: baseline → data → train → evaluate → compare and gate → report, each stage done once."""

from __future__ import annotations

import gc
import logging
import sys
from pathlib import Path
from typing import Any

from charter.document import STARTER, Charter, load_charter
from charter.evaluation import suite_digest
from charter.evaluation.gate import GateResult
from charter.evaluation.results import Outcome, read_outcomes
from charter.feedback.formats import is_file
from charter.judges.registry import judge, judge_digest
from charter.models.loading import load_model, model_digest, named_digest, resolve
from charter.progress import Bar
from charter.recipes.account import write_account
from charter.recipes.data_stage import HELDOUT, build_data, needs_model
from charter.recipes.file_source import source_digest
from charter.recipes.preference_accuracy import held_out_accuracy
from charter.recipes.preflight import check_clauses, check_recipe
from charter.recipes.recipe import Recipe, load_recipe
from charter.recipes.rewards import aims_of, reward_digest, with_stages
from charter.recipes.train_stage import call_all, dismiss_all, run_train_stage, take_part
from charter.recipes.verdict import comparisons_of, rules_of
from charter.records import preference_from, read_jsonl
from charter.store.runfolder import RunFolder, StageDone
from charter.training.catalogue import CATALOGUE
from charter.training.devices import here
from charter.training.methods import DistillSettings, PpoSettings
from charter.training.rollouts import RolloutSettings

log = logging.getLogger(__name__)


def align(recipe_path: Path, out: Path | None = None) -> tuple[Path, GateResult] | None:
    """Run a recipe to its report; finished stages of an earlier try are kept. Returns the run folder and the verdict.

    Of several processes, the first does all stages and gets the result; the others train with it and get None.
    Raises UserError for a recipe, charter, model or data that cannot be used, before anything long starts.
    """
    recipe = load_recipe(recipe_path)
    charter = _charter(recipe, recipe_path)
    check_recipe(recipe)
    check_clauses(recipe, charter)
    if not here().first:
        take_part(recipe.train)
        return None
    run = RunFolder(out or Path("runs") / recipe.name)
    with run.locked():
        _log_to(run.path / "log")
        verdict = _Alignment(recipe, recipe_path, charter, run).result()
    dismiss_all()
    return run.path, verdict


class _Alignment:
    """One run of one recipe; methods are its stages."""

    def __init__(self, recipe: Recipe, recipe_path: Path, charter: Charter, run: RunFolder) -> None:
        self.recipe, self.recipe_path, self.charter, self.run = recipe, recipe_path, charter, run
        self.base_digest = model_digest(resolve(recipe.model))
        self.suites = {suite: suite_digest(suite) for suite in recipe.suites}

    def result(self) -> GateResult:
        """Every stage in order."""
        baseline = self._evaluate("baseline", self.recipe.model, self.base_digest)
        data = self._data()
        trained = self._train(data)
        stages = zip(trained, self.recipe.train, strict=True)
        policy = [done for done, stage in stages if CATALOGUE[stage.method].gives == "policy"][-1]
        candidate, digest = policy.result["model"], policy.result["digest"]
        after = self._evaluate("evaluate", candidate, digest)
        heldout = self._preferences(candidate, digest, data)
        before, later = outcomes_of(baseline), outcomes_of(after)
        comparisons = comparisons_of(self.recipe, before, later, heldout.result if heldout else None)
        rules = rules_of(self.recipe, heldout is not None)
        verdict = rules.decide(comparisons)
        write_account(
            self.run,
            recipe=self.recipe,
            recipe_path=self.recipe_path,
            charter=self.charter,
            base_digest=self.base_digest,
            trained=trained,
            candidate=policy.result,
            before=before,
            later=later,
            comparisons=comparisons,
            rules=rules.metrics,
            gate=verdict,
        )
        self.run.drop_later()
        return verdict

    def _evaluate(self, name: str, model: str, digest: str) -> StageDone | None:
        """The suites on one model, as Inspect logs; None when the recipe measures no suites."""
        recipe = self.recipe
        if not recipe.suites:
            return None

        def work(folder: Path) -> dict[str, Any]:
            from charter.evaluation.runner import evaluate

            limit = recipe.limit or 10**9
            sizes = {suite: min(limit, _size(suite)) for suite in recipe.suites}
            done = dict.fromkeys(recipe.suites, 0)
            with Bar(name, sum(sizes.values()), "samples") as bar:

                def progress(suite: str, finished: int, _total: int) -> None:
                    done[suite] = finished
                    bar.update(sum(done.values()), suite)

                loaded = load_model(model)
                evaluate(
                    loaded, recipe.suites, folder / "logs", limit=recipe.limit, seed=recipe.seed, progress=progress
                )
            del loaded
            gc.collect()
            return {"suites": self.suites, "model_digest": digest}

        config = {
            "model": digest,
            "suites": self.suites,
            "limit": recipe.limit,
            # Decoding is greedy: the seed only draws the samples of a limited run.
            "seed": recipe.seed if recipe.limit else None,
            "judge": judge_digest("refusal"),
        }
        return self.run.stage(name, config, work)

    def _data(self) -> StageDone:
        recipe = self.recipe
        sources = recipe.data.model_dump(mode="json")
        for entry in sources["files"]:
            if is_file(entry["path"]):
                entry["sha256"] = source_digest(entry["path"])

        def work(folder: Path) -> dict[str, Any]:
            from charter.models.generation.local import LocalTextModel

            model = LocalTextModel(load_model(recipe.model)) if needs_model(recipe.data) else None
            return build_data(recipe, self.charter, model, judge("refusal"), folder)

        config = {
            "model": self.base_digest,
            "charter": self.charter.digest if recipe.data.contrast else None,
            "data": sources,
            "suites": self.suites,
            "seed": recipe.seed,
            "judge": judge_digest("refusal") if needs_model(recipe.data) else None,
        }
        return self.run.stage("data", config, work)

    def _train(self, data: StageDone) -> list[StageDone]:
        model, digest = self.recipe.model, self.base_digest
        stages: list[StageDone] = []
        rewards: dict[str, str] = {}
        for number, settings in enumerate(self.recipe.train):
            if isinstance(settings, RolloutSettings):
                settings = with_stages(settings, rewards)
            config = {
                "model": digest,
                "data": data.result["digests"],
                "settings": settings.model_dump(mode="json", exclude={"save_every", "track"}),
            }
            if isinstance(settings, DistillSettings):
                config["teacher"] = named_digest(settings.teacher)
            if isinstance(settings, PpoSettings) and settings.critic_model is not None:
                config["critic"] = named_digest(settings.critic_model)
            if isinstance(settings, RolloutSettings):
                config["reward"] = reward_digest(aims_of(settings))

            def work(
                folder: Path, number: int = number, settings: Any = settings, model: str = model
            ) -> dict[str, Any]:
                call_all(number, model, data.folder, folder)
                try:
                    return run_train_stage(settings, model, data.folder, folder)
                finally:
                    gc.collect()

            done = self.run.stage(settings.method, config, work)
            # A reward model stands beside the policy: the next stage goes on from what this one started from.
            if CATALOGUE[settings.method].gives == "policy":
                model, digest = str(done.folder / "model"), done.result["digest"]
            else:
                rewards[settings.method] = str(done.folder / "model")
            stages.append(done)
        return stages

    def _preferences(self, candidate: str, digest: str, data: StageDone) -> StageDone | None:
        if not data.result["heldout"]:
            return None

        def work(folder: Path) -> dict[str, Any]:
            folder.mkdir(parents=True, exist_ok=True)
            rows = [preference_from(row) for _, row in read_jsonl(data.folder / HELDOUT)]
            longest = max(stage.max_tokens for stage in self.recipe.train)
            return held_out_accuracy(self.recipe.model, candidate, rows, longest)

        config = {"base": self.base_digest, "candidate": digest, "heldout": data.result["digests"][HELDOUT]}
        return self.run.stage("preferences", config, work)


def outcomes_of(stage: StageDone | None) -> list[Outcome]:
    """The outcomes in a stage's Inspect logs."""
    return read_outcomes(stage.folder / "logs") if stage is not None else []


def _size(suite: str) -> int:
    from charter.evaluation import load_suite

    return len(load_suite(suite))


def _charter(recipe: Recipe, recipe_path: Path) -> Charter:
    path = recipe_path.parent / recipe.charter if recipe.charter else STARTER
    return load_charter(path, locale=recipe.locale, audience=recipe.audience, jurisdiction=recipe.jurisdiction)


class _LogFile(logging.FileHandler):
    """A log line that a full disk refuses is let go: the next result that cannot be written stops the run and says so,
    where logging would print a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _log_to(path: Path) -> None:
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger("charter")
    root.setLevel(logging.INFO)
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
