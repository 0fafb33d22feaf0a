"""What --estimate says, without running anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from charter.cli import evaluate
from charter.errors import UserError
from charter.evaluation.estimate import estimate, planned_seconds, planned_sizes

app = typer.Typer()
app.command("regress")(evaluate.regress)
app.command("eval")(evaluate.eval_)
runner = CliRunner()


def test_more_samples_see_smaller_changes_and_leave_less_in_doubt() -> None:
    few, many = (estimate({("s", "knowledge"): n}, {}) for n in (60, 500))
    assert (few.metrics[0].detectable or 1) > (many.metrics[0].detectable or 1)
    assert few.inconclusive > 0.5 > 0.01 > many.inconclusive
    for found in (few, many):
        assert found.passes + found.regressed + found.inconclusive == pytest.approx(1)
        assert found.regressed <= 0.05


def test_a_larger_family_is_judged_more_strictly() -> None:
    alone = estimate({("a", "knowledge"): 200}, {})
    family = estimate(dict.fromkeys(zip("abcd", ("knowledge", "x", "y", "z"), strict=True), 200), {})
    assert family.metrics[0].dropped[1] < alone.metrics[0].dropped[1]
    assert (family.metrics[0].detectable or 0) > (alone.metrics[0].detectable or 0)
    assert family.inconclusive > alone.inconclusive


def test_a_limit_shortens_the_plan() -> None:
    assert planned_sizes(["knowledge"], 50) == {("knowledge", "knowledge"): 50}
    full = planned_sizes(["knowledge", "harmful_requests"], None)
    assert set(full) == {("knowledge", "knowledge"), ("harmful_requests", "harmful_refused")}


def test_the_command_runs_nothing_and_knows_the_time_from_earlier_logs(tiny_base: Path, tmp_path: Path) -> None:
    arguments = ["regress", str(tiny_base), str(tiny_base), "--estimate", "--log-dir", str(tmp_path / "logs")]
    shown = runner.invoke(app, [*arguments, "--suites", "knowledge"])
    assert shown.exit_code == 0, shown.output
    assert not (tmp_path / "logs").exists()
    assert "inconclusive in" in shown.stdout
    assert "not known" in shown.stdout
    ran = runner.invoke(
        app, ["eval", str(tiny_base), "--suites", "knowledge", "--limit", "4", "--log-dir", str(tmp_path / "logs/base")]
    )
    assert ran.exit_code == 0, ran.output
    assert planned_seconds(tmp_path / "logs/base", ["knowledge"], None) is not None
    shown = runner.invoke(app, [*arguments, "--suites", "knowledge"])
    assert f"Time for the base ({tiny_base}): at most" in shown.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--estimate", "--json", "x.json"], "runs nothing"),
        (["--estimate", "--min-gain", "knowledge=0"], "margins only"),
        (["--estimate", "--gate", "knowlege"], "nothing to say"),
        (["--discordance", "0.1"], "assumption"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: list[str], word: str) -> None:
    result = runner.invoke(app, ["regress", "smollm2", "smollm2", *options])
    assert isinstance(result.exception, UserError)
    assert word in str(result.exception)


def test_margins_are_reckoned_with_and_wrong_ones_refused() -> None:
    sizes = {("knowledge", "knowledge"): 200}
    loose, strict = (estimate(sizes, {}, {"knowledge/knowledge": margin}) for margin in (0.2, 0.05))
    assert loose.inconclusive < 0.01 < 0.4 < strict.inconclusive
    with pytest.raises(UserError, match='Did you mean "knowledge"'):
        estimate(sizes, {}, {"knowlege": 0.1})
    with pytest.raises(UserError, match="at most at 1"):
        estimate(sizes, {}, {"knowledge": 5})


def test_a_fall_brings_its_own_discordance() -> None:
    assert estimate({("s", "knowledge"): 500}, {}, discordance=0.0).metrics[0].dropped[1] > 0.9
