"""`charter judge score` and `charter judge calibrate`: JSONL in, JSONL or JSON out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from charter.cli.rows import check_writable, completion_of, read_rows, write_rows
from charter.errors import UserError
from charter.records import Exchange, conversation_of

app = typer.Typer(
    help="Score completions with a judge, or measure how well a judge agrees with people.",
    epilog="Example: charter judge score --judge refusal --in answers.jsonl --out scored.jsonl",
    no_args_is_help=True,
)

_JudgeName = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="NAME",
        help="refusal, harm, rubric, rubric:MODEL, llama-guard:MODEL, granite-guardian:MODEL, wildguard:MODEL or "
        "reward:FOLDER.",
    ),
]
_Input = Annotated[
    str, typer.Option("--in", help="JSONL with id, prompt or messages, completion; - reads standard input.")
]


@app.command(epilog="Example: charter judge score --judge refusal --in answers.jsonl --out scored.jsonl")
def score(
    judge: _JudgeName,
    source: _Input,
    out: Annotated[str, typer.Option("--out", help="Where to write the scored rows; - writes standard output.")] = "-",
) -> None:
    """Score each row: adds label, score in [0, 1] and judge, or the reason why the row is unscored."""
    from charter.evaluation.judges import named_judge as load

    rows = read_rows(source)
    exchanges = [_exchange(row, where) for where, row in rows]
    check_writable(out)
    chosen = load(judge)
    scores = chosen.score(exchanges)
    results = []
    for (_, row), scored in zip(rows, scores, strict=True):
        result = {k: v for k, v in row.items() if k not in ("label", "score", "unscored", "judge")}
        result["judge"] = scored.judge
        if scored.unscored is None:
            result |= {"label": scored.label, "score": scored.score}
        else:
            result["unscored"] = scored.unscored
        results.append(result)
    write_rows(out, results)
    missed = sum(scored.unscored is not None for scored in scores)
    print(f"judge {chosen.name}: {len(scores) - missed} rows scored, {missed} unscored", file=sys.stderr)


@app.command(epilog="Example: charter judge calibrate --judge refusal --in labelled.jsonl")
def calibrate(
    judge: _JudgeName,
    source: _Input,
    slice_by: Annotated[str, typer.Option(metavar="KEY", help="The field that names a row's slice.")] = "slice",
    keep: Annotated[
        bool, typer.Option(help="Keep the numbers with the judge: they are shown beside all its later scores.")
    ] = True,
) -> None:
    """Compare a judge with people's labels in the field "human": accuracy, kappa, confusion and intervals as JSON.

    Where rows have the field "slice", the same for each slice. The numbers are kept with the judge, on this machine.
    """
    from charter.evaluation.judges import named_judge as load
    from charter.judges.calibration import calibrate as measure
    from charter.judges.calibration import keep_calibration
    from charter.judges.registry import judge_digest

    rows = read_rows(source)
    exchanges = [_exchange(row, where) for where, row in rows]
    if slice_by != "slice" and not any(slice_by in row for _, row in rows):
        raise UserError(f'No row has the field "{slice_by}", so there is nothing to slice by.')
    chosen = load(judge)
    labels: tuple[str, ...] = tuple(getattr(chosen, "labels", ()))
    human = []
    for where, row in rows:
        label = row.get("human")
        if not isinstance(label, str) or (labels and label not in labels):
            raise UserError(
                f'{where}: the field "human" must hold a label of this judge ({", ".join(labels)}); got {label!r}.'
            )
        human.append(label)
    slices = [None if row.get(slice_by) is None else str(row[slice_by]) for _, row in rows]
    found = measure(chosen, exchanges, human, measured_on=Path(source).name if source != "-" else "", slices=slices)
    print(json.dumps(found.as_json(), ensure_ascii=False))
    if keep:
        print(f"kept with the judge: {keep_calibration(found, judge_digest(chosen.name))}", file=sys.stderr)


def _exchange(row: Mapping[str, Any], where: str) -> Exchange:
    return Exchange(str(row["id"]), conversation_of(row, where), completion_of(row, where))
