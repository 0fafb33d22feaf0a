"""`charter feedback`: labels of a tiny real model as JSONL that is read again, and agreement with people's choices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import pairs, write_rows
from typer.testing import CliRunner

from charter.cli.feedback import app
from charter.errors import UserError
from charter.feedback.formats import read_preferences
from charter.stats.intervals import wilson

CLAUSES = "harm.crime,help.no-overcaution"


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_quality_is_agreement_with_an_interval_and_asks_nothing_twice(tmp_path: Path, tiny_base: Path) -> None:
    source, log = write_rows(tmp_path / "human.jsonl", pairs(9)), tmp_path / "log.jsonl"
    asked = ("--labeller", tiny_base, "--in", source, "--limit", 8, "--clauses", CLAUSES, "--log", log)
    found = json.loads(run("quality", *asked, "--ensemble", 2))
    assert (found["pairs"], found["unscored"], found["all"]["n"], found["how"]) == (8, 0, 8, "contrast")
    right = round(found["all"]["agree"] * 8)
    assert (found["all"]["low"], found["all"]["high"]) == pytest.approx(wilson(right, 8))
    assert found["sure"]["n"] + found["unsure"]["n"] == 8
    assert found["place"] == {"pairs": 0, "first_place": None, "disagree": None}
    size = log.stat().st_size
    assert json.loads(run("quality", *asked, "--ensemble", 2)) == found
    assert log.stat().st_size == size


def test_labels_come_back_as_the_record_that_people_use(tmp_path: Path, tiny_base: Path) -> None:
    source, target = write_rows(tmp_path / "pairs.jsonl", pairs(4)), tmp_path / "labelled.jsonl"
    # The tiny model reads bytes: a short rule leaves room for the question.
    charter = tmp_path / "charter.yaml"
    charter.write_text("charter: 1\nname: a\nversion: '1'\nclauses: [{id: a.b, kind: must, rule: Be kind.}]\n")
    run("label", "--labeller", tiny_base, "--in", source, "--out", target, "--how", "options",
        "--charter", charter, "--clauses", "a.b")  # fmt: skip
    rows = read_preferences(str(target))
    assert len(rows) == 8
    assert {row.rater for row in rows} == {f"{tiny_base} (options)"}
    by_prompt: dict[str, float] = {}
    for row in rows:
        assert row.clauses == ("a.b",)
        by_prompt[row.prompt[0].content] = by_prompt.get(row.prompt[0].content, 0.0) + row.strength
    assert list(by_prompt.values()) == [pytest.approx(1.0)] * 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--labeller", "openai:http://127.0.0.1:9/v1#m"), "needs the labeller's weights"),
        (("--labeller", "smollm2", "--how", "guess"), "none of contrast, options and reasoned"),
        (("--labeller", "smollm2", "--clauses", "harm.crme"), '"harm.crime"'),
    ],
)
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    source = write_rows(tmp_path / "human.jsonl", pairs(2))
    with pytest.raises(UserError) as caught:
        run("quality", "--in", source, *arguments)
    assert says in str(caught.value)
