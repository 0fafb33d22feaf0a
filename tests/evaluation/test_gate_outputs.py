"""What a check leaves for machines and people: agreement with the verdict, and hostile text that stays text."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from charter.errors import UserError
from charter.evaluation.comments import MARKER, markdown, workflow_commands
from charter.evaluation.regression import Regression, Rules, check
from charter.evaluation.results import Outcome
from charter.evaluation.sarif import sarif
from charter.evaluation.sides import Side
from charter.report.outputs import FORMATS, check_places, rendered
from charter.report.regression import MAX_FLIPS, regression_html

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{ 7*7 }}</details></body>\u202egnp.exe\ud800\x1b[31m"
)


def checked(lost: int, n: int = 200, name: str = "knowledge", **rules: object) -> Regression:
    base = [
        Outcome("quiz", name, f"id{i}", 1, 1.0, label="ok", slice="ab"[i % 2], prompt=HOSTILE, completion=HOSTILE)
        for i in range(n)
    ]
    after = [replace(o, value=float(i >= lost), completion=f"{HOSTILE}{i}") for i, o in enumerate(base)]
    sides = [Side(side, tuple(outcomes), ()) for side, outcomes in (("base", base), ("tuned", after))]
    return check(*sides, Rules(**rules))  # type: ignore[arg-type]


CASES = [(0, 200, "pass"), (60, 200, "regressed"), (1, 12, "inconclusive")]


@pytest.mark.parametrize(("lost", "n", "verdict"), CASES)
def test_every_format_says_the_verdict(lost: int, n: int, verdict: str) -> None:
    found = checked(lost, n)
    assert found.result.verdict == verdict
    for format_ in FORMATS:
        assert verdict in rendered(found, format_).lower() or (format_ == "junit" and verdict == "pass")
    suite = ElementTree.fromstring(rendered(found, "junit")).find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors")) == (str(int(lost == 60)), str(int(lost == 1)))
    kinds = {"pass": "::notice", "regressed": "::error", "inconclusive": "::warning"}
    assert workflow_commands(found)[0].startswith(kinds[verdict])
    document = json.loads(sarif(found))
    if verdict == "regressed":
        assert "slice" in (suite.findtext("system-out") or "")
    levels = [result["level"] for result in document["runs"][0]["results"] if result["ruleId"] != "slice-alarm"]
    assert levels == {"pass": [], "regressed": ["error"], "inconclusive": ["warning"]}[verdict]


def test_sarif_has_what_servers_refuse_to_do_without() -> None:
    document = json.loads(sarif(checked(60)))
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert document["version"] == "2.1.0"
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri
        assert not uri.startswith("/")
    assert {result["ruleId"] for result in run["results"]} == {"regressed", "slice-alarm"}


class Tags(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_the_page_shows_hostile_completions_as_text() -> None:
    page = regression_html(checked(60))
    parser = Tags()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "img" not in parser.tags
    assert not [name for name in parser.attributes if name.startswith("on") or name in ("src", "href", "action")]
    assert "{{ 7*7 }}" in page
    assert "⟨U+202E⟩" in page
    assert "⟨U+001B⟩" in page
    assert page.count('class="sample"') == 60
    page.encode("utf-8")


def test_the_page_cuts_long_lists_with_a_notice_worsened_first() -> None:
    page = regression_html(checked(150))
    assert page.count('class="sample"') == MAX_FLIPS
    assert f"the other {150 - MAX_FLIPS} are in the logs" in page


def test_the_comment_quotes_no_completion_and_escapes_names() -> None:
    text = markdown(checked(60, name="a|b<img>@all"))
    assert text.startswith(MARKER)
    assert "alert" not in text
    assert "<img>" not in text
    assert "@all" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| a")]
    assert row.replace("\\|", "").count("|") == 10


def test_annotations_cannot_be_broken_out_of() -> None:
    lines = workflow_commands(checked(60, name="x\n::error::stolen,%"))
    assert all("\n" not in line for line in lines)
    assert lines[0].startswith("::error title=x%0A%3A%3Aerror%3A%3Astolen%2C%25%3A regressed::")


def test_margins_replace_the_defaults_of_the_metrics_they_name_and_of_no_other() -> None:
    def side(name: str, lost: int) -> Side:
        rows = [
            Outcome(metric, metric, str(i), 1, float(i >= lost or metric != "knowledge"))
            for metric in ("knowledge", "benign_answered")
            for i in range(400)
        ]
        return Side(name, tuple(rows), ())

    sides = side("a", 0), side("b", 20)
    assert check(*sides, Rules()).result.verdict == "pass"
    strict = check(*sides, Rules(margins={"knowledge": 0.02}))
    assert {d.metric: d.verdict for d in strict.result.decisions} == {
        "knowledge": "regressed",
        "benign_answered": "pass",
    }
    alone = check(*sides, Rules(only=("benign_answered",)))
    assert [d.metric for d in alone.result.decisions] == ["benign_answered"]
    for rules in (Rules(margins={"knowlege": 0.1}), Rules(only=("knowlege",)), Rules(gains={"knowlege": 0.1})):
        with pytest.raises(UserError, match='Did you mean "knowledge"'):
            check(*sides, rules)


def test_two_outputs_cannot_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="same file name"):
        check_places({"json": tmp_path / "a", "html": tmp_path / "a"})
    with pytest.raises(UserError, match="folder"):
        check_places({"json": tmp_path})


def test_junit_stays_readable_xml_whatever_a_metric_is_called() -> None:
    suite = ElementTree.fromstring(rendered(checked(60, name="a\x1b[31m<b>&\x00"), "junit")).find("testsuite")
    assert suite is not None
    assert suite.find("testcase/failure") is not None
