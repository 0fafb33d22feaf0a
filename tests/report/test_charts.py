"""Drawings: where things stand on them is what the numbers say."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.report import Curve, GateRule, MetricRow
from charter.report.charts import (
    MAX_POINTS,
    WIDTH,
    axis_number,
    change_chart,
    change_scale,
    curve_charts,
    level_chart,
    level_interval,
    thin,
    ticks,
)

rates = st.floats(-1, 1).map(lambda value: round(value, 4))


def find(drawing: str, kind: str) -> list[dict[str, str]]:
    return [node.attrib for node in ElementTree.fromstring(drawing).iter() if node.attrib.get("class") == kind]


@given(st.lists(rates, min_size=3, max_size=3), rates)
def test_the_interval_is_right_of_the_gate_line_just_when_it_clears_the_margin(ends: list[float], gate: float) -> None:
    low, delta, high = sorted(ends)
    row = MetricRow("m", 100, 0.5, 0.5, delta, low, high)
    rule = GateRule("m", gate, "")
    drawing = str(change_chart("c", row, rule, change_scale([row], [rule]), 0.95))
    line = float(find(drawing, "gate")[0]["x1"])
    span = find(drawing, "span after")[0]
    zero = float(find(drawing, "zero")[0]["x1"])
    # Coordinates are written with two decimals.
    if abs(low - gate) > 1e-3:
        assert (float(span["x1"]) > line) == (low > gate)
    if abs(high) > 1e-3:
        assert (float(span["x2"]) > zero) == (high > 0)
    for mark in (line, zero, float(span["x1"]), float(span["x2"])):
        assert 0 <= mark <= WIDTH


def test_before_and_after_stand_at_their_rates() -> None:
    row = MetricRow("m", 100, 0.0, 1.0)
    drawing = str(level_chart("c", row, 0.95))
    assert float(find(drawing, "dot before")[0]["cx"]) == 14
    assert float(find(drawing, "dot after")[0]["cx"]) == WIDTH - 14
    unknown = str(level_chart("c", MetricRow("m", 0, None, float("nan")), 0.95))
    assert not find(unknown, "dot before")
    assert "not measured" in unknown
    assert "nan" not in unknown.lower()


def test_the_interval_of_a_rate_is_wilsons() -> None:
    # Wilson's interval for 10 of 100 (Newcombe 1998 gives the method): 5.52% to 17.44%.
    low, high = level_interval(0.1, 100, 0.95) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)
    assert level_interval(None, 100, 0.95) is None
    assert level_interval(0.1, 0, 0.95) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_evenly_spaced_and_on_the_axis(low: float, width: float) -> None:
    high = low + width
    marks = ticks(low, high)
    assert 3 <= len(marks) <= 8
    step = marks[1] - marks[0]
    slack = 1e-6 * max(abs(low), abs(high), width)
    assert low - slack <= marks[0]
    assert marks[-1] <= high + slack
    if width > 1e-3 * abs(low):
        assert math.isclose(float(f"{step:.0e}"), step, rel_tol=1e-3)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=1000))
def test_thinning_keeps_few_points_and_the_mean(values: list[float]) -> None:
    drawn, each = thin([(float(i), value) for i, value in enumerate(values)])
    assert len(drawn) <= MAX_POINTS
    full = len(values) // each
    kept = sum(y for _, y in drawn[:full]) * each + (drawn[full][1] * (len(values) % each) if len(drawn) > full else 0)
    assert math.isclose(kept, sum(values), rel_tol=1e-6, abs_tol=1e-6)


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    rows = tuple({"step": float(i), "loss": 3.0 - i, "accuracy": float("nan"), "other": 1.0} for i in range(3))
    charts = curve_charts("c", Curve("sft", rows))
    assert [caption for caption, _, _ in charts] == ["Loss (nats)"]
    drawing = str(charts[0][1])
    spots = [tuple(map(float, pair.split(","))) for pair in find(drawing, "curve")[0]["points"].split()]
    assert [x for x, _ in spots] == sorted(x for x, _ in spots)
    assert [y for _, y in spots] == sorted(y for _, y in spots), "a falling loss goes down the page"
    assert "step 1: 2.000" in drawing


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [1e-5, 2e-5], [1e9, -1e9]])
def test_flat_and_extreme_series_are_drawn(values: list[float]) -> None:
    rows = tuple({"step": float(i), "loss": value} for i, value in enumerate(values))
    ElementTree.fromstring(str(curve_charts("c", Curve("s", rows))[0][1]))


@pytest.mark.parametrize(
    ("value", "shown"), [(0.00015, "1.5e−4"), (1e-5, "1e−5"), (0.25, "0.25"), (1200.0, "1,200"), (-2.0, "−2"), (0, "0")]
)
def test_axis_numbers(value: float, shown: str) -> None:
    assert axis_number(value) == shown
