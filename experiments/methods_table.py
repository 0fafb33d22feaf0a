"""The comparison of methods as a page, from its results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.records import write_text

COMPARED = Path(__file__).resolve().parent.parent / "docs" / "methods"
SETTINGS: dict[str, Any] = {"batch_size": 8, "max_tokens": 300, "learning_rate": 1e-4}
"""What all methods train with in place of their defaults."""
MISSING = "not measured yet"
PAGE = """# The methods compared

Written by `python experiments/methods.py --table` from [comparison.json](comparison.json); edit neither by hand.
`python experiments/methods.py` trains and measures every method that is missing, one after another, and continues where
it was cut off; `python experiments/methods.py dpo ipo` those two.

`sft` is the untouched model after SFT on the chosen sides. It is measured against the untouched model, as is `distill`,
which has `sft` for its teacher. All others start from `sft` and are measured against it, on the same pairs, with one
pass, batches of {batch_size}, rows of at most {max_tokens} tokens and a peak rate of {learning_rate:g}; everything else
is the method's default, which no one has tuned for this table. `online_dpo` samples its own pairs on the same prompts,
and the reward model of the row `reward` judges them. `cost` and `reward_pointwise` need labels that these pairs do not
have.

- **accuracy**: held-out pairs whose chosen side has the higher reward (the log-ratio to the start; a reward model's own
  reward). Exact 95% interval.
- **KL**: nats per sampled answer to held-out prompts, cut at a number of tokens, of the trained model from its start,
  both as they are loaded to answer; **length** of those answers in tokens. Normal 95% intervals over prompts.
- **harmful refused**, **benign answered**: before → after in percent, and the change in points with its paired 95%
  interval (Tango); drawn samples of the suites.

| method | start | accuracy | KL | length | harmful refused | benign answered | training minutes | date |
|---|---|---|---|---|---|---|---|---|
{rows}

{facts}
"""


def write_table(results: Mapping[str, Any], names: Sequence[str], folder: Path) -> str:
    """Write comparison.md into `folder`; returns the table."""
    rows = "\n".join(_row(name, results.get(name)) for name in names)
    text = PAGE.format(rows=rows, facts=_facts(list(results.values())), **SETTINGS)
    write_text(folder / "comparison.md", text)
    return rows


def _row(name: str, result: Mapping[str, Any] | None) -> str:
    if result is None:
        return f"| `{name}` | {' | '.join(['', MISSING, *[''] * 6])} |"
    accuracy, drift, changes = result["accuracy"], result.get("drift"), result.get("refusals", {})
    minutes = result["training_minutes"]
    cells = [
        result["start"],
        _spread(accuracy, 100, 1),
        _spread(drift["kl"], 1, 2) if drift else "–",
        _spread(drift["length"], 1, 0) if drift else "–",
        _change(changes.get("harmful_refused")),
        _change(changes.get("benign_answered")),
        "interrupted" if minutes is None else f"{minutes:.1f}",
        result["date"],
    ]
    return f"| `{name}` | {' | '.join(cells)} |"


def _spread(found: Mapping[str, Any], scale: float, digits: int) -> str:
    if found["value"] is None:
        return "–"
    value, low, high = (f"{scale * found[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high}; n {found['n']})"


def _change(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "–"
    change, low, high = (f"{100 * found[key]:+.1f}" for key in ("value", "low", "high"))
    unscored = f", {found['unscored']} unscored" if found["unscored"] else ""
    rates = f"{100 * found['before']:.0f} → {100 * found['after']:.0f}"
    return f"{rates} ({change}; {low} to {high}; n {found['n']}{unscored})"


def _facts(results: Sequence[Mapping[str, Any]]) -> str:
    """Where the numbers come from; each way in which results differ is a line of its own."""
    if not results:
        return "Nothing is measured yet."
    lines: dict[str, list[str]] = {}
    for result in results:
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        cut = f"; answers cut at {result['drift']['tokens']} tokens" if "drift" in result else ""
        line = (
            f"{result['model']}, seed {result['seed']}, {versions}; {result['limit']} pairs drawn from "
            f"{result['data']} (sha256 of the held-out ones {result['digests']['heldout.jsonl'][:12]}){cut}"
        )
        lines.setdefault(line, []).append(f"`{result['method']}` ({result['rows']} rows, {result['steps']} steps)")
    return "\n".join(f"- {line}: {', '.join(names)}." for line, names in lines.items())
