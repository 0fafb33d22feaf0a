"""What the benches compute from their steps: the bound that tokens imply, ratios, the curves' batches, the pages."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from charter.training.layout import Group

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "experiments")]

import curves  # noqa: E402
import curves_chart  # noqa: E402
import methods_table  # noqa: E402
import render  # noqa: E402
import resident  # noqa: E402
import table  # noqa: E402


def side(seconds: list[float], tokens: int, slots: int, forward_slots: int, peak: float) -> Any:
    steps = [
        {"seconds": s, "loss": 0.7, "tokens": tokens, "slots": slots, "forward_slots": forward_slots, "peak_gb": peak}
        for s in seconds
    ]
    return SimpleNamespace(steps=steps, hello={"resting_gb": 0.5, "shape": [1000, 100, 10], "versions": "v"})


def test_the_bound_counts_a_backward_pass_as_a_forward_and_is_per_token() -> None:
    ours = table.seen(side([9, 1, 1], 100, 60, 60, 1.0), 1)
    theirs = table.seen(side([9, 4, 4], 100, 120, 120, 2.5), 1)
    packed = table.seen(side([9, 4, 4], 50, 60, 60, 2.5), 1)
    assert ours.work == pytest.approx((2 * 60 + 60) / 100)
    assert theirs.work / ours.work == pytest.approx(2.0)
    # Half the tokens in as many positions is no better than all of them in twice as many.
    assert packed.work == pytest.approx(theirs.work)
    assert (ours.seconds, theirs.above_rest_gb) == (1, 2.0)


def test_ratios_are_of_neighbouring_steps_per_token() -> None:
    ours, theirs = side([1, 2, 4], 100, 0, 0, 1).steps, side([3, 6, 40], 50, 0, 0, 1).steps
    # 3, 3 and 10 times the seconds, on half the tokens; a slow moment of the machine moves one turn, not the median.
    assert table.ratio(ours, theirs) == pytest.approx(6.0)


def test_operations_of_a_step_are_those_of_its_matrices() -> None:
    shape = table.Shape(body=1000, head=100, adapter=10)
    step = table.seen(side([1, 1], 1, 7, 5, 1), 1)
    by_hand = 2 * (7 * 1000 * 2 + 5 * 1000 + 3 * 7 * 10 + 100 * (2 * 3 + 4))
    assert shape.flops(step, 3, 4) == by_hand


@pytest.mark.parametrize("share", curves.SHARES)
def test_a_points_prompt_has_the_share_that_its_axis_says(share: float) -> None:
    parts = curves.parts([curves.LlamaShape(64, 1)] * 3)
    point = {p.x: p for part in parts if part.curve == "share" for p in part.points}[f"{share:.0%}"]
    for group in point.groups(random.Random(0)):
        answer = len(group.completions[0])
        assert len(group.prompt) / (len(group.prompt) + answer) == pytest.approx(share, abs=0.02)


def test_answers_to_one_prompt_become_one_group_and_lose_no_token() -> None:
    rows = [Group("a", (1, 2), ((3,),)), Group("b", (1, 2), ((4, 5),)), Group("c", (9,), ((3,),))]
    assert curves.merged(rows) == [Group("a", (1, 2), ((3,), (4, 5))), Group("c", (9,), ((3,),))]


def test_the_drawing_has_every_point_and_its_ratio(tmp_path: Path) -> None:
    points = [
        {"curve": curve, "x": x, "ours": 1.0, "theirs": height, "ratio": height}
        for curve in curves_chart.PANELS
        for x, height in (("a", 2.0), ("b & c", 4.0))
    ]
    curves_chart.draw(str(tmp_path), points, {"date": "2000-01-01"})
    drawn = ElementTree.parse(tmp_path / "curves.svg").getroot()
    heights = {float(dot.attrib["cy"]) for dot in drawn.iter() if dot.tag.endswith("circle")}
    texts = [text.text for text in drawn.iter() if text.tag.endswith("text")]
    assert texts.count("2.0×") == texts.count("4.0×") == 3
    assert texts.count("b & c") == 3
    # Three heights of value 1, 2 and 4 on one scale that starts at zero.
    four, two, one = sorted(heights)
    floor = curves_chart.BOTTOM
    assert (floor - four) / (floor - one) == pytest.approx(4, rel=0.01)
    assert (floor - two) / (floor - one) == pytest.approx(2, rel=0.01)
    assert json.loads((tmp_path / "curves.json").read_text())["points"] == points


def test_peak_memory_is_what_was_held_and_let_go() -> None:
    model: Any = SimpleNamespace(parameters=lambda: [])
    rest = resident.resting(model)
    held = bytearray(200 * 2**20)
    del held
    assert 150 * 2**20 < resident.peak() - rest < 400 * 2**20


def entry(name: str, **more: Any) -> dict[str, Any]:
    run = {"date": "2000-01-01", "machine": "m", "threads": 1, "versions": "v", "data": "d", "dtype": "bfloat16"}
    run |= {"batch": 2, "longest": 9, "warmup": 1, "seed": 0}
    return {"name": name, "ratio": 6.0, "pairs": 8, "bound": 2.0, "seconds": [1.0, 6.0], "of_product": [0.3, 0.1],
            "peak_gb": [1.0, 2.0], "memory": 0.4, "losses": [[0.5], [0.5]], "run": run, **more}  # fmt: skip


def test_the_page_takes_what_was_measured_and_keeps_the_rest_unmeasured(tmp_path: Path, monkeypatch: Any) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "bench.md"
    page.write_text((ROOT / "docs" / "bench.md").read_text())
    exact = entry("kto step, TRL, our choices", losses=[[0.5, 0.51], [0.5, 0.5102]])
    exact["run"] = exact["run"] | {"dtype": "float32"}
    results.write_text(json.dumps([entry("dpo step, TRL, our choices")]) + "\n" + json.dumps([exact]) + "\n")
    monkeypatch.setattr(sys, "argv", ["render.py", str(results), str(page)])
    render.main()
    once = page.read_text()
    assert "| dpo | TRL, our choices | 1.00 | 6.00 | **6.00** | 3 | 2.00 | 3.00 | 30% | 10% |" in once
    assert "| kto | 0.50000, 0.51000 | 0.50000, 0.51020 | 2.0e-04 |" in once
    assert "| kto | TRL, our choices | not measured yet |" in once  # fp32 runs are no measure of speed
    render.main()
    assert page.read_text() == once
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="no marks"):
        render.main()


def test_the_comparison_of_methods_is_rebuilt_from_results(tmp_path: Path) -> None:
    spread = {"n": 280, "value": 0.6, "low": 0.54, "high": 0.66}
    change = {"n": 150, "before": 0.1, "after": 0.2, "value": 0.1, "low": 0.03, "high": 0.17, "unscored": 2}
    result = {
        "method": "dpo", "date": "2000-01-01", "seed": 1, "model": "m", "start": "sft", "data": "f.jsonl", "limit": 9,
        "digests": {"heldout.jsonl": "0123456789abcdef"}, "rows": 5, "steps": 3, "training_minutes": 2.0,
        "versions": {"torch": "2"}, "accuracy": spread, "refusals": {"harmful_refused": change},
        "drift": {"kl": spread, "length": {**spread, "value": 40.0}, "tokens": 96},
    }  # fmt: skip
    text = methods_table.write_table({"dpo": result}, ["dpo", "ipo"], tmp_path)
    assert "| `dpo` | sft | 60.0 (54.0 to 66.0; n 280) | 0.60 (0.54 to 0.66; n 280) | 40 " in text
    assert "| 10 → 20 (+10.0; +3.0 to +17.0; n 150, 2 unscored) | – | 2.0 | 2000-01-01 |" in text
    assert "| `ipo` |  | not measured yet |" in text
    page = (tmp_path / "comparison.md").read_text()
    assert "m, seed 1, torch 2; 9 pairs drawn from f.jsonl (sha256 of the held-out ones 0123456789ab)" in page
