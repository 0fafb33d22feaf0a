"""charter reward score: what a reward model makes of given completions."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from charter.cli.rows import check_writable, completion_of, read_rows, write_rows
from charter.errors import UserError

app = typer.Typer(
    help="Ask a reward model, or examine one.",
    epilog="Example: charter reward score --model runs/rm/model --in answers.jsonl --out scored.jsonl",
    no_args_is_help=True,
)
_Model = Annotated[str, typer.Option("--model", help="A reward model: the folder that `charter train reward` wrote.")]
_Read = Annotated[
    str, typer.Option("--read", help="How an ensemble's heads become one reward: mean, worst or penalised.")
]
_Penalty = Annotated[
    float | None, typer.Option("--penalty", help="c of the penalised read, mean - c · std over the heads; 1 if unset.")
]


@app.command(epilog="Example: charter reward score --model runs/rm/model --in answers.jsonl --out scored.jsonl")
def score(
    model: _Model,
    source: Annotated[str, typer.Option("--in", help="JSONL with id, prompt or messages, completion; - is stdin.")],
    target: Annotated[str, typer.Option("--out", help="JSONL to write, whole or not at all; - is standard output.")],
    read: _Read = "mean",
    penalty: _Penalty = None,
) -> None:
    """Score each row: adds reward (higher is better), or the reason why the row is unscored.

    An ensemble adds heads, the value of each. Of a cost model, the reward is less the cost.
    """
    from charter.progress import Bar
    from charter.records import Exchange, conversation_of
    from charter.training.reward_model import PENALTY, READS, RewardModel

    if read not in READS:
        raise UserError(f'--read "{read}" is none of {", ".join(READS)}.')
    if penalty is not None and (read != "penalised" or penalty < 0):
        raise UserError("--penalty belongs to --read penalised, and is at least 0.")
    rows = read_rows(source)
    asked = [Exchange(str(row["id"]), conversation_of(row, at), completion_of(row, at)) for at, row in rows]
    check_writable(target)
    loaded = RewardModel(model, read, PENALTY if penalty is None else penalty)
    with Bar("rewards", len(asked), "rows") as bar:
        scored = loaded.reward(asked, lambda done, _: bar.update(done))
        bar.update(len(asked))
    out = []
    for (_, row), one in zip(rows, scored, strict=True):
        result = {name: value for name, value in row.items() if name not in ("reward", "heads", "unscored")}
        if one.unscored is not None:
            out.append({**result, "unscored": one.unscored})
            continue
        out.append({**result, "reward": one.reward} | ({"heads": list(one.heads)} if loaded.heads > 1 else {}))
    write_rows(target, out)
    missed = sum(one.unscored is not None for one in scored)
    print(f"{model}: {len(scored) - missed} rows scored, {missed} unscored", file=sys.stderr)
