"""`charter judge score` and `charter judge calibrate`: JSONL in, JSONL or JSON out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
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

_JudgeName = Annotated[str, typer.Option("--judge", help="The judge's name, such as refusal.")]
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
    from charter.judges.registry import judge as load

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
def calibrate(judge: _JudgeName, source: _Input) -> None:
    """Compare a judge with people's labels in the field "human": accuracy, kappa, confusion and intervals as JSON."""
    from charter.judges.calibration import calibrate as measure
    from charter.judges.registry import judge as load

    rows = read_rows(source)
    exchanges = [_exchange(row, where) for where, row in rows]
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
    print(json.dumps(measure(chosen, exchanges, human, measured_on=source).as_json(), ensure_ascii=False))


def _exchange(row: Mapping[str, Any], where: str) -> Exchange:
    return Exchange(str(row["id"]), conversation_of(row, where), completion_of(row, where))
