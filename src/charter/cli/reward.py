"""charter reward: what a reward model makes of given completions, and what it really rewards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.rows import check_writable, completion_of, read_rows, write_rows
from charter.errors import UserError

if TYPE_CHECKING:
    from charter.evaluation.reward_audit import Rate, RewardAudit

app = typer.Typer(
    help="Ask a reward model, or examine one.",
    epilog="Example: charter reward score --model runs/rm/model --in answers.jsonl --out scored.jsonl",
    no_args_is_help=True,
)
_Model = Annotated[
    list[str],
    typer.Option(
        "--model", help="A reward model: the folder that `charter train reward` wrote. Given again: an ensemble."
    ),
]
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

    An ensemble adds heads, the value of each. Of a cost model, the reward is less the cost. A process model adds steps,
    the score of each step.
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
        more = {"heads": list(one.heads)} if len(one.heads) > 1 else {}
        out.append({**result, "reward": one.reward, **more, **({"steps": list(one.steps)} if one.steps else {})})
    write_rows(target, out)
    missed = sum(one.unscored is not None for one in scored)
    print(f"{loaded.name}: {len(scored) - missed} rows scored, {missed} unscored", file=sys.stderr)


@app.command(epilog="Example: charter reward audit --model runs/rm/model --in heldout.jsonl --json")
def audit(
    model: _Model,
    source: Annotated[str, typer.Option("--in", help="Preference pairs in any shape of docs/data.md.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    read: _Read = "mean",
) -> None:
    """Examine a reward model: accuracy by slice, calibration, length, and whether flattery, formatting or padding pay.

    Use pairs that it was not trained on. The probes of flattery, formatting and padding are built in.
    """
    import json

    from charter.evaluation.probes.pairs import probe_pairs
    from charter.evaluation.reward_audit import audit_reward
    from charter.feedback.formats import load
    from charter.progress import Bar
    from charter.training.reward_model import READS, RewardModel

    if read not in READS:
        raise UserError(f'--read "{read}" is none of {", ".join(READS)}.')
    pairs, dropped = load(source).as_kind("preferences")
    loaded = RewardModel(model, read)
    probes = probe_pairs()
    with Bar("rewards", 2 * (len(pairs) + len(probes)), "rows") as bar:
        found = audit_reward(loaded, pairs, probes, lambda done, _: bar.update(done))
    if as_json:
        typer.echo(json.dumps({**found.as_json(), "dropped": dict(dropped)}, indent=1))
        return
    _show(found)
    for reason, count in dropped.items():
        typer.echo(f"dropped {count}: {reason}")


def _show(found: RewardAudit) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{found.model}: share of pairs whose chosen side has the higher reward", title_justify="left")
    for column in ("slice", "n", "share", "95% interval"):
        table.add_column(column, justify="left" if column == "slice" else "right")
    for rate in found.accuracy:
        table.add_row(rate.name, str(rate.n), *_shares(rate))
    console.print(table)
    if found.brier is not None:
        console.print(f"Brier score {found.brier:.3f} · calibration error {found.calibration_error:.3f}")
    longer, label = found.longer_preferred, found.longer_chosen
    console.print(
        f"The longer side has the higher reward in {_shares(longer)[0]} and is chosen in {_shares(label)[0]}."
    )
    if found.length_correlation is not None:
        rho, low, high = found.length_correlation
        console.print(f"Rank correlation of reward and length: {rho:+.2f} ({low:+.2f} to {high:+.2f})")
    probes = Table(title="Probes: share of pairs in which the addition raises the reward", title_justify="left")
    for column in ("addition", "n", "share", "95% interval", "p", "shift (sd)"):
        probes.add_column(column, justify="left" if column == "addition" else "right")
    for probe in found.probes:
        p = "–" if probe.p is None else f"{probe.p:.2g}"
        shift = (
            "–" if probe.shift is None else f"{probe.shift:+.2f} ({probe.shift_low:+.2f} to {probe.shift_high:+.2f})"
        )
        probes.add_row(probe.preferred.name, str(probe.preferred.n), *_shares(probe.preferred), p, shift)
    console.print(probes)
    for reason, count in found.unscored.items():
        console.print(f"unscored {count}: {reason}")


def _shares(rate: Rate) -> tuple[str, str]:
    if rate.rate is None or rate.ci_low is None or rate.ci_high is None:
        return "–", "–"
    return f"{100 * rate.rate:.1f}%", f"{100 * rate.ci_low:.1f}% – {100 * rate.ci_high:.1f}%"
