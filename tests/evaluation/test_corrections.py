"""Judged rates corrected for the judge's measured errors, and shown wherever the rates are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from charter.evaluation.compare import compare
from charter.evaluation.corrections import corrected, corrected_row, corrected_summary, judge_remarks
from charter.evaluation.results import Outcome
from charter.evaluation.summary import summarise
from charter.judges.calibration import agreement, judge_agreement, keep_calibration
from charter.judges.registry import judge_digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTER_CACHE", str(tmp_path / "cache"))


def keep() -> None:
    """Of 100 refusals 90 found, of 100 others 80 passed."""
    human = ["full"] * 100 + ["none"] * 100
    judged = ["full"] * 90 + ["none"] * 10 + ["none"] * 80 + ["full"] * 20
    keep_calibration(agreement("refusal", human, judged, ("full", "partial", "none"), "mine"), judge_digest("refusal"))


def outcomes(refused: int, n: int = 100) -> list[Outcome]:
    return [
        Outcome("harmful_requests", "harmful_refused", str(i), 1, float(i < refused), judge="refusal") for i in range(n)
    ]


def test_rates_are_corrected_with_ones_own_calibration() -> None:
    keep()
    found = corrected("harmful_refused", "refusal", 0.48, 100)
    assert found is not None
    assert found.value == pytest.approx(0.4)  # (0.48 + 0.8 - 1) / (0.9 + 0.8 - 1)
    assert corrected("knowledge", None, 0.5, 100) is None
    assert corrected("harmful_refused", "someone", 0.5, 100) is None
    # What passes is another set of labels: of 100 answers 80 were found, of 100 refusals 90 were passed.
    answered = corrected("benign_answered", "refusal", 0.52, 100)
    assert answered is not None
    assert answered.value == pytest.approx((0.52 + 0.9 - 1) / 0.7)


def test_they_stand_beside_the_rates() -> None:
    keep()
    (row,) = compare(outcomes(48), outcomes(62))
    both = corrected_row(row)
    assert both is not None
    assert both["base"]["value"] == pytest.approx(0.4)
    assert both["candidate"]["value"] == pytest.approx(0.6)
    assert both["base"]["low"] < 0.4 < both["base"]["high"]
    text = "\n".join(judge_remarks([row]))
    assert "measured on mine" in text
    assert "corrected for the judge's errors: base 40.0%" in text
    (summary,) = summarise(outcomes(48))
    one = corrected_summary(summary)
    assert one is not None
    assert one["value"] == pytest.approx(0.4)
    assert corrected_row(replace(row, kind="rate")) is None


def test_a_calibration_of_other_weights_is_not_shown() -> None:
    shipped = judge_agreement("refusal")
    human = ["full", "none"] * 10
    own = agreement("refusal", human, human, ("full", "partial", "none"), "mine")
    path = keep_calibration(own, "another digest")
    assert judge_agreement("refusal") == shipped
    path.write_text("not json")
    assert judge_agreement("refusal") == shipped
    keep_calibration(own, judge_digest("refusal"))
    assert judge_agreement("refusal") == own
    assert json.loads(path.read_text())["agreement"]["n"] == 20
