"""`charter feedback label` and `charter feedback quality`: preference labels from a model, and how good they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charter.errors import UserError

if TYPE_CHECKING:
    from charter.feedback.ai_labels import AiLabel, Comparable
    from charter.records import Preference

_QUALITY = "charter feedback quality --labeller smollm2 --in human.jsonl --limit 200"
_LABEL = "charter feedback label --labeller openai:http://localhost:8000/v1#judge --in pairs.jsonl --out labelled.jsonl"

app = typer.Typer(
    help="Preference labels from a model, under the clauses of a charter.",
    epilog=f"Example: {_QUALITY}",
    no_args_is_help=True,
)

_Labeller = Annotated[
    str, typer.Option("--labeller", help="smollm2, a folder, a hub id, or openai:http://host:port/v1#name")
]
_How = Annotated[
    str,
    typer.Option(
        "--how",
        help="contrast: how likely the labeller finds the replies under a clause and its opposite (local models); "
        "options: its log-probs of A and B in both orders; reasoned: the same after a chain of thought.",
    ),
]
_CharterFile = Annotated[Path | None, typer.Option("--charter", help="The starter charter when left out.")]
_Clauses = Annotated[str, typer.Option("--clauses", metavar="A,B", help="Clause ids; all that are trained by default.")]
_Ensemble = Annotated[int, typer.Option("--ensemble", min=1, help="Clauses asked about each pair.")]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many pairs, drawn by the seed.")]
_Abstain = Annotated[float, typer.Option("--abstain", min=0.0, max=0.5, help="No label within this of one half.")]
_Seed = Annotated[int, typer.Option("--seed", help="Draws pairs and clauses.")]
_Log = Annotated[Path | None, typer.Option("--log", help="Keep answers here, and ask nothing that is in it again.")]


@app.command(epilog=f"Example: {_QUALITY}")
def quality(
    labeller: _Labeller,
    source: Annotated[str, typer.Option("--in", help="Preference pairs that people chose; any format that is read.")],
    how: _How = "contrast",
    charter: _CharterFile = None,
    clauses: _Clauses = "",
    ensemble: _Ensemble = 1,
    limit: _Limit = None,
    abstain: _Abstain = 0.0,
    seed: _Seed = 0,
    log: _Log = None,
) -> None:
    """Label pairs that people have labelled: the share on which both agree, with intervals, and place bias, as JSON."""
    from charter.feedback.label_quality import comparable
    from charter.feedback.label_quality import quality as measure

    rows = comparable(_pairs(source, limit, seed))
    labels = _labels(rows, labeller, how, charter, clauses, ensemble, seed, log)
    print(json.dumps(measure(labels, labeller, how, abstain).as_json(), ensure_ascii=False))


@app.command(epilog=f"Example: {_LABEL}")
def label(
    labeller: _Labeller,
    source: Annotated[str, typer.Option("--in", help="Pairs to label; which side is chosen there does not matter.")],
    out: Annotated[str, typer.Option("--out", help="Labelled pairs as preference JSONL; - writes standard output.")],
    how: _How = "contrast",
    charter: _CharterFile = None,
    clauses: _Clauses = "",
    ensemble: _Ensemble = 1,
    limit: _Limit = None,
    abstain: _Abstain = 0.0,
    soft: Annotated[bool, typer.Option(help="A pair each way, weighing as the chances; else one of weight 1.")] = True,
    seed: _Seed = 0,
    log: _Log = None,
) -> None:
    """Label pairs by a model: the same JSONL that people's labels come in, so that a recipe can mix both by weight."""
    from charter.cli.rows import check_writable, write_rows
    from charter.feedback.ai_labels import preferences_of
    from charter.feedback.label_quality import comparable
    from charter.records import as_row

    check_writable(out)
    rows = comparable(_pairs(source, limit, seed))
    labels = _labels(rows, labeller, how, charter, clauses, ensemble, seed, log)
    found = preferences_of(rows, labels, f"{labeller} ({how})", abstain=abstain, soft=soft)
    write_rows(out, [as_row(row) for row in found.preferences])
    for what, count in found.counts.items():
        print(f"{what}: {count}", file=sys.stderr)


def _pairs(source: str, limit: int | None, seed: int) -> list[Preference]:
    from collections import Counter

    from charter.feedback.formats import read_preferences
    from charter.feedback.prompt_mix import drawn

    dropped: Counter[str] = Counter()
    found = read_preferences(source, dropped=dropped)
    for reason, count in dropped.items():
        print(f"left out {count}: {reason}", file=sys.stderr)
    return drawn(found, limit, str(seed))


def _labels(
    rows: list[Comparable],
    labeller: str,
    how: str,
    charter: Path | None,
    clauses: str,
    ensemble: int,
    seed: int,
    log: Path | None,
) -> list[AiLabel]:
    import tempfile

    from charter.document import STARTER, load_charter
    from charter.feedback.ai_labels import by_contrast, by_options
    from charter.feedback.asking import AnswerLog
    from charter.feedback.prompt_mix import taught_clauses
    from charter.models.names import is_endpoint
    from charter.progress import Bar
    from charter.recipes.voices import Voice

    if how not in ("contrast", "options", "reasoned"):
        raise UserError(f'--how "{how}" is none of contrast, options and reasoned.')
    if how == "contrast" and is_endpoint(labeller):
        raise UserError("--how contrast needs the labeller's weights: an endpoint does not give log-probs of replies. "
                        "Use --how options.")  # fmt: skip
    wanted = [name.strip() for name in clauses.split(",") if name.strip()]
    chosen = taught_clauses(load_charter(charter or STARTER), wanted)
    with tempfile.TemporaryDirectory() as folder, Bar("labels", len(rows), "pairs") as bar:
        voice = Voice(labeller, AnswerLog(log or Path(folder) / "answers.jsonl"))

        def report(done: int, total: int) -> None:
            bar.update(len(rows) * done // max(total, 1))

        if how == "contrast":
            return by_contrast(rows, chosen, voice.likelihood, ensemble=ensemble, seed=seed, progress=report)
        thinker = voice.text if how == "reasoned" else None
        return by_options(
            rows, chosen, voice.likelihood, ensemble=ensemble, seed=seed, thinker=thinker, progress=report
        )
