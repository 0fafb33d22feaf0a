"""The report's section on reward hacking."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from courses import course

from charter.evaluation.hacking.verdict import judged
from charter.evaluation.hacking.watch import Subject, summary
from charter.report import ReportData, Watch
from charter.report.html import report_html
from charter.report.json import report_json
from charter.report.watch import drawn

SUBJECT = Subject((), (), None, (), (), 48, 16, 0, "held-out prompts", "general prompts", "x")
HUMP = (0.0, 1.5, 2.0, 1.0, -1.0)


def told(stopped: int | None = None) -> dict[str, Any]:
    looks = course(lambda s: s, lambda s: HUMP[s])
    found: dict[str, Any] = json.loads(json.dumps(summary(looks, judged(looks), 2, stopped, SUBJECT)))
    return {**found, "training_seconds": 50.0}


def test_the_section_draws_the_gap_the_fit_and_the_peak(data: ReportData) -> None:
    page = report_html(replace(data, verdict="regressed", watches=(Watch("03-grpo", told()),)))
    section = page.split('<section id="hacking"')[1].split("</section>")[0]
    assert 'href="#hacking"' in page
    assert "peak of truth, step 2" in section
    for drawing in ('class="gap"', 'class="proxy"', 'class="curve fit"', 'class="curve other"', "R²"):
        assert (drawing in section) == (drawing != 'class="curve other"')  # there are near prompts alone here
    assert section.count("<svg") == 1 + 4 + 1
    assert "10% of the 50 s" in section
    assert "the training gamed its reward (03-grpo)" in page
    # Five looks, each a row; their numbers are those that were found.
    rows = re.findall(r'<th role="rowheader" scope="row">(\d+)</th>', section)
    assert rows == ["0", "1", "2", "3", "4"]


def test_truth_and_proxy_are_drawn_where_they_are() -> None:
    one = drawn(Watch("grpo", told()), "w")
    points = re.findall(r'<circle[^>]*cx="([\d.]+)" cy="([\d.]+)"[^>]*class="dot (\w+)"', one.main)
    truth = [(float(x), float(y)) for x, y, kind in points if kind == "after"]
    proxy = [(float(x), float(y)) for x, y, kind in points if kind == "before"]
    assert len(truth) == len(proxy) == 5
    # √KL is 0, 1, √2, √3, 2; further is to the right, and higher up is more.
    across = [(x - truth[0][0]) / (truth[-1][0] - truth[0][0]) for x, _ in truth]
    assert across == pytest.approx([(kl / 4) ** 0.5 for kl in range(5)], abs=0.01)
    assert min(truth, key=lambda at: at[1]) == truth[2]
    assert [y for _, y in proxy] == sorted((y for _, y in proxy), reverse=True)


def test_a_page_without_a_watch_has_no_section_and_json_has_it_all(data: ReportData) -> None:
    assert 'id="hacking"' not in report_html(data)
    found = json.loads(report_json(replace(data, watches=(Watch("dpo", told(stopped=3)),))))["watches"]
    assert [(watch["stage"], watch["verdict"], watch["stopped"]) for watch in found] == [("dpo", "regressed", 3)]
    assert "stopped at step 3" in report_html(replace(data, watches=(Watch("dpo", told(stopped=3)),)))


def test_a_pass_beside_a_watch_that_did_not_pass_is_called_out(data: ReportData) -> None:
    assert "Do not rely on this run" in report_html(replace(data, watches=(Watch("dpo", told()),)))
