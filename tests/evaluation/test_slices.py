"""Weak slices and their alarms."""

from __future__ import annotations

from dataclasses import replace

from charter.evaluation.compare import Comparison, compare
from charter.evaluation.gate import regression_gate
from charter.evaluation.results import Outcome
from charter.evaluation.slices import SliceFinding, slice_findings


def findings(falls: dict[str, tuple[int, int]]) -> tuple[list[SliceFinding], list[Comparison], str]:
    """Slices by name: (samples, how many of them were lost)."""
    base = [Outcome("s", "m", f"{name}{i}", 1, 1.0, slice=name) for name, (n, _) in falls.items() for i in range(n)]
    lost = {f"{name}{i}" for name, (_, k) in falls.items() for i in range(k)}
    after = [replace(o, value=float(o.sample_id not in lost)) for o in base]
    rows = compare(base, after)
    result = regression_gate(rows).decide(rows)
    return slice_findings(rows, result), rows, result.verdict


def test_the_weakest_is_named_and_a_shown_fall_is_an_alarm_that_does_not_turn_the_verdict() -> None:
    found, _, verdict = findings({"code": (150, 20), "chat": (900, 9), "tiny": (20, 10)})
    assert verdict == "pass"
    assert [(f.slice, f.weakest, f.alarm) for f in found] == [("code", True, True), ("chat", False, True)]
    assert "alarm" in found[0].sentence()
    assert "−13.3" in found[0].sentence() or "-13.3" in found[0].sentence()


def test_a_small_slice_is_descriptive_however_far_it_fell() -> None:
    found, _, _ = findings({"a": (50, 50), "b": (60, 0)})
    assert [(f.slice, f.alarm, f.descriptive) for f in found] == [("a", False, True)]
    assert "descriptive" in found[0].sentence()


def test_chance_over_many_slices_raises_no_alarm() -> None:
    # p = 0.031 in one of ten slices (6 lost, none gained) is what chance gives.
    found, _, _ = findings({f"s{i}": (100, 6 if i == 3 else 0) for i in range(10)})
    assert [(f.slice, f.alarm) for f in found] == [("s3", False)]
    alone, _, _ = findings({"s3": (100, 6), "s4": (30, 0)})
    assert [(f.slice, f.alarm) for f in alone] == [("s3", True)]
