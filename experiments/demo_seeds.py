"""The demo under several seeds, as a table: what `docs/results.md` shows.

    python experiments/demo_seeds.py 1 2 3 >docs/demo-seeds.md

Each seed is a run of its own under runs/, so an interrupted one continues. The table
holds every seed, whatever the gate says of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RECIPE = Path(__file__).parents[1] / "examples" / "demo" / "recipe.yaml"
METRICS = ("harmful_refused", "benign_answered", "instruction_following", "knowledge")
UNSEEN = "categories not trained on"


def run(seed: int, runs: Path) -> dict[str, Any]:
    """Run the demo with one seed; its report."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8")) | {"seed": seed, "name": f"demo-seed{seed}"}
    recipe["charter"] = str(RECIPE.parent / recipe["charter"])
    runs.mkdir(exist_ok=True)
    path = runs / f"demo-seed{seed}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    out = runs / recipe["name"]
    first = next(
        (folder for folder in runs.glob("demo-seed*/stages/01-baseline") if (folder / "done.json").exists()), None
    )
    if first is not None and not (out / "stages").exists():
        # The untouched model answers greedily: its numbers are the same under every seed, and the run checks that.
        shutil.copytree(first, out / "stages" / first.name)
    # 1 and 3 are verdicts too: they belong in the table.
    done = subprocess.run(
        [sys.executable, "-m", "charter.cli.main", "align", str(path), "--out", str(out)], check=False
    )
    if done.returncode not in (0, 1, 3):
        raise SystemExit(f"seed {seed} could not finish (exit code {done.returncode})")
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def cell(report: dict[str, Any], name: str, slice_: str | None = None) -> str:
    """Base → candidate and the change with its interval, in percent."""
    row = next((m for m in report["metrics"] if (m["name"], m["slice"], m["clause"]) == (name, slice_, None)), None)
    if row is None or row["delta"] is None:
        return "–"
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    return (
        f"{100 * row['base']:.1f} → {100 * row['candidate']:.1f} ({100 * row['delta']:+.1f}; {low:+.1f} to {high:+.1f})"
    )


def main() -> None:
    """Run the seeds named on the command line and print the table."""
    seeds = [int(argument) for argument in sys.argv[1:]] or [1, 2, 3]
    reports = {seed: run(seed, Path("runs")) for seed in seeds}
    print("| | " + " | ".join(f"seed {seed}" for seed in seeds) + " |")
    print("|---|" + "---|" * len(seeds))
    rows = [(name, None, name) for name in METRICS]
    rows.insert(1, ("harmful_refused", UNSEEN, f"harmful_refused, {UNSEEN}"))
    for name, slice_, title in rows:
        print(f"| `{title}` | " + " | ".join(cell(report, name, slice_) for report in reports.values()) + " |")
    print("| verdict | " + " | ".join(report["verdict"] for report in reports.values()) + " |")
    minutes = [sum(stage["seconds"] or 0 for stage in report["stages"]) / 60 for report in reports.values()]
    print("| minutes | " + " | ".join(f"{value:.1f}" for value in minutes) + " |")


if __name__ == "__main__":
    main()
