"""From a run's stages to the report: gathers what was measured; decides nothing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from charter import __version__
from charter.document import Charter, Clause
from charter.evaluation import suite_digest
from charter.evaluation.compare import Comparison, compare
from charter.evaluation.corrections import judge_remarks
from charter.evaluation.gate import GateResult, MetricGate
from charter.evaluation.results import Outcome
from charter.judges.calibration import Calibration, judge_agreement
from charter.recipes.recipe import Recipe
from charter.report import (
    ClauseRow,
    EvidenceRow,
    GateRule,
    JudgeRow,
    MetricRow,
    PowerRow,
    ReportData,
    SampleRow,
    StageRow,
    read_curve,
    write_report,
)
from charter.store.runfolder import RunFolder, StageDone

PACKAGES = ("torch", "transformers", "peft", "inspect-ai", "tokenizers", "safetensors", "scipy")


def write_account(
    run: RunFolder,
    *,
    recipe: Recipe,
    recipe_path: Path,
    charter: Charter,
    base_digest: str,
    trained: Sequence[StageDone],
    candidate: Mapping[str, Any],
    before: Sequence[Outcome],
    later: Sequence[Outcome],
    comparisons: Sequence[Comparison],
    rules: Mapping[str, MetricGate],
    gate: GateResult,
) -> None:
    """Write report.html and report.json of a finished run; `candidate` is what the last stage on the policy gave."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    suites = {suite: suite_digest(suite) for suite in recipe.suites}
    data = ReportData(
        title=recipe.name,
        verdict=gate.verdict,
        summary=_summary(gate),
        model=recipe.model,
        model_digest=base_digest,
        candidate=candidate["model"],
        candidate_digest=candidate["digest"],
        charter=charter.name,
        charter_digest=charter.digest,
        clauses=tuple(_clause(clause) for clause in charter.clauses),
        metrics=tuple(_metrics(comparisons, before, later, gate, recipe.seed)),
        gate=tuple(_gate_rule(rules, gate, decision.metric) for decision in gate.decisions),
        power=tuple(
            PowerRow(row.metric, row.n, row.detectable) for row in comparisons if row.slice is None and row.detectable
        ),
        judges=_judges(comparisons),
        stages=tuple(StageRow(done.name, done.seconds, "done", done.reused) for done in run.stages),
        curves=tuple(read_curve(done.name, done.folder / "metrics.jsonl") for done in trained),
        samples=tuple(_samples(before, later)),
        evidence=tuple(_evidence(comparisons, charter, suites, candidate["digest"], now)),
        dropped={done.name: done.result["dropped"] for done in run.stages if done.result.get("dropped")},
        versions=_versions(),
        seeds={
            "recipe": recipe.seed,
            **{done.name: stage.seed for done, stage in zip(trained, recipe.train, strict=True)},
        },
        hashes=_hashes(run, recipe_path, charter, base_digest, candidate["digest"], suites),
        hardware=_hardware(),
        commands=(f"charter align {recipe_path.name}",),
        date=now,
        decoding="greedy",
    )
    write_report(data, run.path)


def _summary(gate: GateResult) -> str:
    if not gate.decisions:
        return "No metric of a suite was gated in this run."
    return f"{gate.reason[0].upper()}{gate.reason[1:]}."


def _clause(clause: Clause) -> ClauseRow:
    frameworks = tuple(f"{name}: {id_}" for name, ids in clause.frameworks.model_dump().items() for id_ in ids)
    return ClauseRow(
        clause.id, clause.kind, clause.rule, clause.severity, frameworks, clause.train, clause.test, clause.guard,
        clause.watch, clause.digest,
    )  # fmt: skip


def _metrics(
    comparisons: Sequence[Comparison],
    before: Sequence[Outcome],
    later: Sequence[Outcome],
    gate: GateResult,
    seed: int,
) -> list[MetricRow]:
    """Whole sets and slices, then each metric over the samples of one clause, where a suite serves several."""
    rows = [_metric(row, gate.verdict_of(row), None) for row in comparisons]
    clauses = sorted({clause for outcome in before for clause in outcome.clauses})
    for clause in clauses:
        mine = [[o for o in side if clause in o.clauses] for side in (before, later)]
        for row in compare(mine[0], mine[1], seed):
            whole = next((c for c in comparisons if c.metric == row.metric and c.slice is None), None)
            if row.slice is None and whole is not None and row.n < whole.n:
                rows.append(_metric(row, None, clause))
    return rows


def _metric(row: Comparison, verdict: str | None, clause: str | None) -> MetricRow:
    return MetricRow(
        row.metric, row.n, row.base, row.candidate, row.delta, row.ci_low, row.ci_high, row.p, verdict, row.unscored,
        clause, row.slice,
    )  # fmt: skip


def _gate_rule(rules: Mapping[str, MetricGate], gate: GateResult, metric: str) -> GateRule:
    decision = next(one for one in gate.decisions if one.metric == metric)
    rule = rules[metric]
    if rule.min_gain is not None:
        text, threshold = f"must rise by more than {100 * rule.min_gain:g} points", rule.min_gain
    else:
        margin = rule.margin or 0.0
        text, threshold = f"must not fall by {100 * margin:g} points", -margin
    return GateRule(metric, threshold, text, decision.verdict, decision.reason)


def _judges(comparisons: Sequence[Comparison]) -> tuple[JudgeRow, ...]:
    rows = []
    for name in sorted({row.judge for row in comparisons if row.judge}):
        measured = judge_agreement(name)
        metrics = tuple(row.metric for row in comparisons if row.judge == name and row.slice is None)
        if measured is None:
            rows.append(JudgeRow(name, metrics, note="no measured agreement is stored with this judge"))
            continue
        remarks = [
            text for text in judge_remarks([row for row in comparisons if row.judge == name]) if "corrected" in text
        ]
        rows.append(replace(_judge_row(name, metrics, measured), note=" ".join(remarks)))
    return tuple(rows)


def _judge_row(name: str, metrics: tuple[str, ...], measured: Calibration) -> JudgeRow:
    return JudgeRow(
        name, metrics, measured.measured_on, measured.n, measured.accuracy, measured.accuracy_low,
        measured.accuracy_high, measured.kappa, measured.kappa_low, measured.kappa_high,
    )  # fmt: skip


def _samples(before: Sequence[Outcome], later: Sequence[Outcome]) -> list[SampleRow]:
    """Every sample side by side, once a suite, by its first metric; the page chooses what to show."""
    after = {(o.suite, o.metric, o.sample_id): o for o in later}
    first_metric: dict[str, str] = {}
    for outcome in before:
        first_metric.setdefault(outcome.suite, outcome.metric)
    rows: list[SampleRow] = []
    for suite, metric in first_metric.items():
        pairs = [
            (o, after[(suite, metric, o.sample_id)])
            for o in before
            if o.suite == suite and o.metric == metric and (suite, metric, o.sample_id) in after
        ]
        rows += [_sample(o, later_one) for o, later_one in pairs]
    return rows


def _sample(before: Outcome, after: Outcome) -> SampleRow:
    return SampleRow(
        before.sample_id, before.suite, before.prompt, before.completion, after.completion, before.label, after.label,
        before.slice, before.value, after.value,
    )  # fmt: skip


def _evidence(
    comparisons: Sequence[Comparison], charter: Charter, suites: dict[str, str], model: str, now: str
) -> list[EvidenceRow]:
    """Which clauses each number speaks for: those whose `test` names its suite."""
    rows = []
    for row in comparisons:
        if row.slice is not None:
            continue
        mine = {
            clause.id: clause.digest
            for clause in charter.clauses
            if any(test.split("/")[0] == row.suite for test in clause.test)
        }
        rows.append(EvidenceRow(row.metric, mine, row.suite, suites.get(row.suite, ""), model, now))
    return rows


def _versions() -> dict[str, str]:
    found = {"charter": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _hashes(
    run: RunFolder, recipe_path: Path, charter: Charter, base: str, candidate: str, suites: dict[str, str]
) -> dict[str, str]:
    from charter.store.runfolder import file_digest

    hashes = {"model": base, "candidate": candidate, "charter": charter.digest, "recipe": file_digest(recipe_path)}
    data = next((done for done in run.stages if done.name == "data"), None)
    if data is not None:
        hashes |= {f"data/{name}": digest for name, digest in data.result["digests"].items()}
    return hashes | {f"suite/{suite}": digest for suite, digest in suites.items()}


def _hardware() -> str:
    import torch

    threads = torch.get_num_threads()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{device}, {threads} threads, {sys.platform}"
