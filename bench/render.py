"""The tables of docs/bench.md from docs/bench/results.jsonl, between the page's `<!-- begin … -->` marks.

    python bench/render.py [RESULTS.jsonl] [PAGE.md]

Each line of the results is the last line of a bench. What is not in them stays "not measured yet".
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
MISSING = "not measured yet"
CHOICES, DEFAULTS, PACKED = "TRL, our choices", "TRL, its defaults", "TRL, our choices, packed"
STEPS = ("dpo", "reward", "kto", "sft")
AIMS = {f"dpo step, {CHOICES}": 3.0, f"reward step, {CHOICES}": 2.5, f"kto step, {CHOICES}": 2.0}
AIMS[f"sft step, {PACKED}"] = 1.5
MEMORY_AIM = 0.6
RL = [("grpo step", CHOICES, "3"), ("grpo step", "TRL, continuous batching", ""), ("grpo step", DEFAULTS, "")]
RL += [("grpo rollout", "generate", "2.5"), ("grpo rollout", "continuous batching", "1")]
SHARES, COUNTS = ("0%", "25%", "50%", "75%", "90%"), ("1", "2", "4", "8")

Found = Mapping[str, Mapping[str, Any]]


def read(file: Path) -> tuple[Found, Found]:
    """By name, what was measured in bf16, and in fp32; nothing when there is no file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    parsed = [json.loads(line) for line in lines if line.strip()]
    entries = [entry for one in parsed for entry in (one if isinstance(one, list) else [one])]
    fp32 = {e["name"]: e for e in entries if e.get("run", {}).get("dtype") == "float32"}
    return {e["name"]: e for e in entries if e.get("run", {}).get("dtype") != "float32"}, fp32


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def missing(names: list[str], columns: int) -> list[str]:
    """A row of which nothing is known but its names."""
    return [*names, MISSING, *[""] * (columns - len(names) - 1)]


def speed(found: Found) -> str:
    """Seconds, ratio, the bound that the tokens run imply, and memory of every step."""
    head = [
        "step",
        "against",
        "s/step, ours",
        "theirs",
        "times faster",
        "aim",
        "fewer tokens run",
        "faster per token run",
    ]
    head += ["of the product, ours", "theirs", "peak GB, ours", "theirs", "above rest, ours / theirs"]
    rows = []
    for step in STEPS:
        for side in (CHOICES, *([PACKED] if step == "sft" else []), DEFAULTS):
            name = f"{step} step, {side}"
            if (e := found.get(name)) is None:
                rows.append(missing([step, side], len(head)))
                continue
            aim = f"{AIMS[name]:g}" if name in AIMS else ""
            row = [step, side, *(f"{s:.2f}" for s in e["seconds"]), f"**{e['ratio']:.2f}**", aim]
            row += [f"{e['bound']:.2f}", f"{e['ratio'] / e['bound']:.2f}", *(f"{s:.0%}" for s in e["of_product"])]
            rows.append([*row, *(f"{gb:.2f}" for gb in e["peak_gb"]), f"{e['memory']:.2f}"])
    return table(head, rows)


def agreement(found: Found) -> str:
    """Losses of both sides in fp32, step by step."""
    head = ["step", "losses of charter", "losses of TRL", "furthest apart"]
    rows = []
    for step in STEPS:
        if (e := found.get(f"{step} step, {CHOICES}")) is None:
            rows.append(missing([step], len(head)))
            continue
        ours, theirs = e["losses"]
        apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        rows.append([step, *(", ".join(f"{loss:.5f}" for loss in side) for side in (ours, theirs)), f"{apart:.1e}"])
    return table(head, rows)


def memory(found: Found) -> str:
    """Peak above rest at both vocabularies."""
    head = ["step", "vocabulary", "against", "ours, GB", "theirs, GB", "ours / theirs", "aim"]
    rows = []
    for step in ("dpo", "sft"):
        for vocabulary in ("49k", "128k"):
            for side in (CHOICES, DEFAULTS):
                names = [step, vocabulary, side if side == CHOICES else f"{side} (both recompute)"]
                e = found.get(f"{step} memory at {vocabulary}, {side}")
                if e is None:
                    rows.append(missing(names, len(head)))
                else:
                    rows.append(
                        [*names, f"{e['ours']:.2f}", f"{e['theirs']:.2f}", f"**{e['ratio']:.2f}**", f"≤ {MEMORY_AIM}"]
                    )
    return table(head, rows)


def curves(found: Found) -> str:
    """The curves' points."""
    head = ["curve", "at", "s/step, ours", "theirs", "times faster", "fewer tokens run"]
    at = [("share", x) for x in SHARES] + [("completions", x) for x in COUNTS]
    at += [("size", n.removeprefix("curve size at ")) for n in found if n.startswith("curve size at ")] or [
        ("size", "")
    ]
    rows = []
    for curve, x in at:
        if (e := found.get(f"curve {curve} at {x}")) is None:
            rows.append(missing([curve, x], len(head)))
        else:
            row = [curve, x, f"{e['ours']:.3f}", f"{e['theirs']:.3f}", f"**{e['ratio']:.2f}**", f"{e['bound']:.2f}"]
            rows.append(row)
    return table(head, rows)


def generation(found: Found) -> str:
    """Tokens per second against transformers' `generate`."""
    head = ["tokens/s, charter", "transformers' generate", "times faster"]
    if (e := found.get("generation")) is None:
        return table(head, [missing([], len(head))])
    return table(head, [[f"{e['ours']:.0f}", f"{e['theirs']:.0f}", f"**{e['ratio']:.2f}**"]])


def rl(found: Found) -> str:
    """The GRPO step and its rollout against their rivals."""
    head = ["what", "against", "s/turn, ours", "theirs", "times faster", "aim", "rollout tokens/s, ours", "theirs"]
    rows = []
    for what, against, aim in RL:
        if (e := found.get(f"{what}, {against}")) is None:
            rows.append(missing([what, against], len(head)))
        else:
            row = [what, against, *(f"{s:.2f}" for s in e["seconds"]), f"**{e['ratio']:.2f}**", aim]
            rows.append([*row, *(f"{rate:.0f}" for rate in e["tokens_per_second"])])
    return table(head, rows)


def rl_curves(found: Found) -> str:
    """Step and rollout over group size and prompt length, those that were measured."""
    head = ["what", "at", "against", "s/turn, ours", "theirs", "times faster"]
    rows = []
    for name, e in found.items():
        if name.startswith("grpo ") and " at " in name:
            what, _, rest = name.partition(" at ")
            at, _, against = rest.partition(", ")
            rows.append([what, at, against, *(f"{s:.2f}" for s in e["seconds"]), f"**{e['ratio']:.2f}**"])
    return table(head, rows or [missing([], len(head))])


def facts(*founds: Found) -> str:
    """When, where and with what, a line for each way of running."""
    lines: dict[str, list[str]] = {}
    for e in (e for found in founds for e in found.values() if "run" in e):
        run = e["run"]
        batch = (
            f"{run['batch']} rows a step of at most {run['longest']} tokens" if "bound" in e and "seconds" in e else ""
        )
        parts = [run["date"], f"{run['machine']} at the end, {run['threads']} threads a side", run["versions"]]
        parts += [run["data"], run["dtype"], batch, f"seed {run['seed']}, {run['warmup']} steps before timing"]
        if "product_gflops" in e:
            parts.append(f"2048 x 2048 bf16 product {e['product_gflops']} GFLOP/s")
        parts.append(f"{e['pairs']} steps timed")
        name = e["name"].split(" step,")[0].split(" memory at")[0].split(" at ")[0]
        own = lines.setdefault("; ".join(part for part in parts if part), [])
        own += [name] if name not in own else []
    return "\n".join(f"- {', '.join(names)}: {line}." for line, names in lines.items()) or MISSING.capitalize() + "."


def main() -> None:
    """Rewrite what stands between the page's marks."""
    given = [Path(argument) for argument in sys.argv[1:]]
    results = given[0] if given else DOCS / "bench" / "results.jsonl"
    page = given[1] if len(given) > 1 else DOCS / "bench.md"
    bf16, fp32 = read(results)
    parts = {"speed": speed(bf16), "agreement": agreement(fp32), "memory": memory(bf16), "curves": curves(bf16)}
    parts |= {"generation": generation(bf16), "rl": rl(bf16), "rl curves": rl_curves(bf16)}
    parts |= {"facts": facts(bf16, fp32)}
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.S)
        if not marks.search(text):
            raise SystemExit(f"{page} has no marks `<!-- begin {name} -->` and `<!-- end {name} -->`. Put them back.")
        text = marks.sub(lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
