"""`charter judge score` and `charter judge calibrate`: JSONL in, JSONL or JSON out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from charter.errors import UserError
from charter.records import Exchange, conversation_of, read_jsonl, write_jsonl

app = typer.Typer(
    help="Score completions with a judge, or measure how well a judge agrees with people.", no_args_is_help=True
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

    rows = list(_rows(source))
    chosen = load(judge)
    scores = chosen.score([exchange for _, _, exchange in rows])
    results = []
    for (_, row, _), scored in zip(rows, scores, strict=True):
        result = {k: v for k, v in row.items() if k not in ("label", "score", "unscored", "judge")}
        result["judge"] = scored.judge
        if scored.unscored is None:
            result |= {"label": scored.label, "score": scored.score}
        else:
            result["unscored"] = scored.unscored
        results.append(result)
    _write(out, results)
    missed = sum(scored.unscored is not None for scored in scores)
    print(f"judge {chosen.name}: {len(scores) - missed} rows scored, {missed} unscored", file=sys.stderr)


@app.command(epilog="Example: charter judge calibrate --judge refusal --in labelled.jsonl")
def calibrate(judge: _JudgeName, source: _Input) -> None:
    """Compare a judge with people's labels in the field "human": accuracy, kappa, confusion and intervals as JSON."""
    from charter.judges.calibration import calibrate as measure
    from charter.judges.registry import judge as load

    rows = list(_rows(source))
    chosen = load(judge)
    labels: tuple[str, ...] = tuple(getattr(chosen, "labels", ()))
    exchanges, human = [], []
    for where, row, exchange in rows:
        label = row.get("human")
        if not isinstance(label, str) or (labels and label not in labels):
            raise UserError(
                f'{where}: the field "human" must hold a label of this judge ({", ".join(labels)}); got {label!r}.'
            )
        exchanges.append(exchange)
        human.append(label)
    print(json.dumps(measure(chosen, exchanges, human, measured_on=source).as_json(), ensure_ascii=False))


def _rows(source: str) -> Iterator[tuple[str, dict[str, Any], Exchange]]:
    """(where, row, exchange) of each input row. Raises UserError at a row without prompt or completion, or no rows."""
    empty = True
    for where, row in _objects(source):
        empty = False
        completion = row.get("completion")
        if not isinstance(completion, str):
            raise UserError(f'{where}: needs "completion", a string; got {completion!r}. Nothing was written.')
        yield where, row, Exchange(str(row.get("id", "")), conversation_of(row, where), completion)
    if empty:
        raise UserError(f"{source}: no rows. Give it at least one JSON object a line.")


def _objects(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if source != "-":
        for number, row in read_jsonl(Path(source)):
            yield f"{source}, line {number}", row
        return
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        where = f"standard input, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not valid JSON ({error.msg} at column {error.colno}).") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: a JSON object is needed, got {type(row).__name__}.")
        yield where, row


def _write(out: str, rows: list[dict[str, Any]]) -> None:
    if out == "-":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    try:
        write_jsonl(Path(out), rows)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}). Choose a folder that you can write to."
        ) from None
