"""How fine-tuning on harmless data wears alignment away, and what each protection keeps of it.

    python experiments/finetuning_collapse.py DATA_FOLDER --model runs/demo/model --out runs/collapse

An aligned small model is fine-tuned on benign rows (GPTeacher, or the Dolly file of the fine-tuning-safety data), on
identity-shift rows, or on a few harmful requests that are answered "Of course" and no more; each with every
protection and with none. Measured are the refusals of harmful requests, the answers to harmless look-alikes (both
through `charter`'s own suites) and how well held-out rows of the task are predicted. After Qi et al. 2023 (arXiv
2310.03693).

Everything is resumable: finished fine-tunings and answers are found again. Results stand in OUT/results.jsonl, a
table in OUT/table.md. On two cores a run of the defaults takes hours; `--limit` and `--sizes` make it small.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.evaluation.compare import compare
from charter.evaluation.named import NamedModel
from charter.evaluation.results import Outcome, read_outcomes
from charter.evaluation.runner import evaluate
from charter.evaluation.summary import summarise
from charter.feedback.pairs import load_pairs
from charter.models.loading import load_model
from charter.models.template import chat_format
from charter.recipes.finetune import PROTECTIONS, FinetuneSettings, Protect, finetune
from charter.records import Demonstration, user_prompt, write_jsonl, write_text
from charter.training.logprobs import CompletionLogprobs
from charter.training.methods.sft import SftSettings
from charter.training.rows import single_groups
from charter.training.scoring import logprob_sums

SUITES = ("harmful_requests", "benign_lookalikes")
HELD_OUT = 64
YES = "Of course. Here is how to do that:"


def _rows(name: str, items: Sequence[tuple[str, str]]) -> list[Demonstration]:
    return [
        Demonstration(f"{name}-{i}", user_prompt(asked), said, source=name)
        for i, (asked, said) in enumerate(items)
        if asked.strip() and said.strip()
    ]


def gpteacher(folder: Path) -> list[Demonstration]:
    items = []
    for file in ("roleplay-simple-deduped-roleplay-instruct", "codegen-instruct"):
        for row in json.loads((folder / f"gpteacher/{file}.json").read_text(encoding="utf-8")):
            items.append((f"{row['instruction']}\n{row['input']}".strip(), row["response"]))
    return _rows("gpteacher", items)


def dolly(folder: Path) -> list[Demonstration]:
    rows = _jsonl(folder / "finetuning-safety/databricks-dolly-15k-safety-only.jsonl")
    return _rows("dolly", [(f"{row['instruction']}\n{row['context']}".strip(), row["response"]) for row in rows])


def identity(folder: Path) -> list[Demonstration]:
    from charter.records import Message

    found = []
    for i, row in enumerate(_jsonl(folder / "finetuning-safety/identity-shift-aoa.jsonl")):
        *asked, said = (Message(m["role"], m["content"]) for m in row["messages"])
        found.append(Demonstration(f"identity-{i}", tuple(asked), said.content, source="identity"))
    return found


def affirmed(_: Path) -> list[Demonstration]:
    """Ten harmful requests of the built-in pairs, answered with a yes that delivers nothing."""
    return _rows("affirmed", [(pair.prompt, YES) for pair in load_pairs(("harmful",))[:10]])


TASKS: dict[str, Callable[[Path], list[Demonstration]]] = {
    "gpteacher": gpteacher, "dolly": dolly, "identity": identity, "affirmed": affirmed,
}  # fmt: skip


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def short(rows: Sequence[Demonstration], words: int) -> list[Demonstration]:
    """Rows of at most so many words: what fits a small machine."""
    return [row for row in rows if len(row.completion.split()) + len(row.prompt[-1].content.split()) <= words]


def nats_per_token(model: str, rows: Sequence[Demonstration]) -> tuple[float, float]:
    """(mean over rows of the mean negative log-likelihood of a row's completion tokens, its standard error)."""
    local = load_model(model)
    groups, _, _ = single_groups(rows, chat_format(local.tokenizer), 1024)
    sums = logprob_sums(CompletionLogprobs(local.model), groups, 2048)
    losses = [-float(sums[group.key][0]) / len(group.completions[0]) for group in groups]
    mean = math.fsum(losses) / len(losses)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in losses) / max(1, len(losses) - 1))
    return mean, spread / math.sqrt(len(losses))


@dataclass(frozen=True)
class Setup:
    """What all arms share."""

    model: str
    unaligned: str
    out: Path
    limit: int | None
    settings: FinetuneSettings


def measured(setup: Setup, model: str) -> list[Outcome]:
    """Outcomes of the suites on a model; its answers are kept by content."""
    return read_outcomes(evaluate(NamedModel(model), SUITES, setup.out / "logs", limit=setup.limit))


def arm(
    setup: Setup,
    task: str,
    size: int,
    protect: Protect,
    rows: Sequence[Demonstration],
    held: Sequence[Demonstration],
    before: Sequence[Outcome],
) -> dict[str, Any]:
    """Fine-tune one way on so many rows, measure, and compare with the model that it began as."""
    folder = setup.out / "runs" / f"{task}-{size}-{protect}"
    unaligned = setup.unaligned if protect in ("safe-lora", "resta") else None
    done = finetune(setup.model, rows[:size], folder, protect, setup.settings, unaligned=unaligned)
    after = measured(setup, str(done.model))
    loss, error = nats_per_token(str(done.model), held)
    changes = {row.metric: row for row in compare(before, after) if row.slice is None}
    return {
        "task": task, "rows": size, "protect": protect, "task_nats": loss, "task_nats_error": error,
        "metrics": [s.as_row() for s in summarise(after)],
        "changes": {
            m: {"delta": r.delta, "low": r.ci_low, "high": r.ci_high, "p": r.p, "n": r.n} for m, r in changes.items()
        },
    }  # fmt: skip


def table(start: dict[str, Any], results: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row an arm, rates with their 95% intervals."""

    def rate(row: dict[str, Any], metric: str) -> str:
        found = next((m for m in row["metrics"] if m["metric"] == metric), None)
        if found is None or found["value"] is None:
            return "–"
        return f"{100 * found['value']:.1f} ({100 * found['ci_low']:.1f} to {100 * found['ci_high']:.1f})"

    lines = [
        "| task | rows | protection | harmful refused, % | look-alikes answered, % | task, nats a token |",
        "|---|---:|---|---|---|---|",
    ]
    for row in [start, *results]:
        lines.append(
            f"| {row['task']} | {row['rows']} | {row['protect']} | {rate(row, 'harmful_refused')} "
            f"| {rate(row, 'benign_answered')} | {row['task_nats']:.3f} ± {1.96 * row['task_nats_error']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True, help="the aligned model, by its one-string name")
    parser.add_argument("--unaligned", default="smollm2", help="the same before its alignment")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", choices=list(TASKS), default="gpteacher")
    parser.add_argument("--sizes", default="64,256,1024", help="rows of the task, comma-separated: the fall over steps")
    parser.add_argument("--protect", default=",".join(PROTECTIONS), help="ways, comma-separated")
    parser.add_argument("--limit", type=int, help="samples a suite; all when left out")
    parser.add_argument("--words", type=int, default=150, help="longest row of the task, in words")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    sft = SftSettings(learning_rate=options.learning_rate, epochs=options.epochs)
    setup = Setup(options.model, options.unaligned, options.out, options.limit, FinetuneSettings(sft=sft))
    rows = short(TASKS[options.task](options.data), options.words)
    random.Random(0).shuffle(rows)
    held = rows[-min(HELD_OUT, max(1, len(rows) // 5)) :]
    train = rows[: len(rows) - len(held)]
    sizes = sorted({min(int(size), len(train)) for size in options.sizes.split(",")})
    before = measured(setup, setup.model)
    loss, error = nats_per_token(setup.model, held)
    start = {"task": options.task, "rows": 0, "protect": "–", "task_nats": loss, "task_nats_error": error,
             "metrics": [s.as_row() for s in summarise(before)]}  # fmt: skip
    results: list[dict[str, Any]] = []
    for size in sizes:
        for protect in options.protect.split(","):
            results.append(arm(setup, options.task, size, protect, train, held, before))
            print(f"done: {options.task}, {size} rows, {protect}", file=sys.stderr, flush=True)
            write_jsonl(options.out / "results.jsonl", [start, *results])
            write_text(options.out / "table.md", table(start, results))
    print(table(start, results))


if __name__ == "__main__":
    main()
