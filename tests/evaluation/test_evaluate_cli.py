"""charter eval, compare and regress through the command line: output, files and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from typer.testing import CliRunner

from charter.cli import evaluate
from charter.errors import UserError
from charter.evaluation.provider import close_model, inspect_model
from charter.ports import Progress
from charter.records import Completion, Conversation, Sampling

app = typer.Typer()
app.command("eval")(evaluate.eval_)
app.command("compare")(evaluate.compare)
app.command("regress")(evaluate.regress)
runner = CliRunner()


class Quiz:
    """Says yes to numbers below `right`."""

    name = "quiz"

    def __init__(self, right: int) -> None:
        self._right = right

    def generate(
        self,
        prompts: Sequence[Conversation],
        sampling: Sampling,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[list[Completion]]:
        return [[Completion("yes" if int(prompt[-1].content) < self._right else "no")] for prompt in prompts]


@pytest.fixture(scope="module")
def log_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """A folder with an Inspect log of a task that is not ours, in which the first `right` of `n` samples are right."""

    def make(right: int, n: int = 60) -> Path:
        folder = tmp_path_factory.mktemp("logs")
        task = Task([Sample(input=str(i), target="yes", id=i) for i in range(n)], scorer=match(), name="quiz")
        model = inspect_model(Quiz(right))
        try:
            inspect_eval(task, model=model, display="none", log_dir=str(folder))
        finally:
            close_model(model)
        return folder

    return make


def test_compare_prints_and_writes_json(log_with: Callable[[int, int], Path]) -> None:
    base, candidate = log_with(50, 60), log_with(20, 60)
    shown = runner.invoke(app, ["compare", str(base), str(candidate)])
    assert shown.exit_code == 0
    assert "regressed" in shown.stdout
    assert "80% power" in shown.stdout
    found = json.loads(runner.invoke(app, ["compare", str(base), str(candidate), "--json"]).stdout)
    assert found["verdict"] == "regressed"
    (row,) = found["metrics"]
    assert (row["name"], row["n"], row["lost"], row["gained"]) == ("match", 60, 30, 0)
    assert row["delta"] == pytest.approx(-0.5)
    assert row["ci_low"] < -0.5 < row["ci_high"] < 0


def test_regress_exit_codes_and_files_agree(log_with: Callable[[int, int], Path], tmp_path: Path) -> None:
    good, bad, few = log_with(50, 60), log_with(20, 60), log_with(8, 10)
    cases = [((good, good), [], 0, "pass"), ((good, bad), [], 1, "regressed"), ((few, few), [], 3, "inconclusive")]
    cases += [((bad, good), ["--min-gain", "match=0.2"], 0, "pass")]
    for index, (sides, options, code, verdict) in enumerate(cases):
        junit, numbers = tmp_path / f"{index}.xml", tmp_path / f"{index}.json"
        arguments = ["regress", *map(str, sides), "--junit", str(junit), "--json", str(numbers), *options]
        assert runner.invoke(app, arguments).exit_code == code
        assert json.loads(numbers.read_text())["verdict"] == verdict
        suite = ElementTree.parse(junit).getroot().find("testsuite")
        assert suite is not None
        assert (int(suite.get("failures", 9)), int(suite.get("errors", 9))) == (code == 1, code == 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "{}/absent", "{}/absent"], "no such log"),
        (["compare", "{}", "{}"], "no Inspect log"),
        (["regress", "{}/absent.eval", "{}"], "not a model"),
        (["eval", "smollm2", "--suites", "knowlege"], 'Did you mean "knowledge"'),
        (["eval", "smollm2", "--suites", " , "], "--suites is empty"),
        (["eval", "smollm2", "--limit", "0"], "limit 0"),
    ],
)
def test_bad_input_is_one_paragraph(arguments: list[str], words: str, tmp_path: Path) -> None:
    result = runner.invoke(app, [a.format(tmp_path) for a in arguments])
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_bad_gate_options(log_with: Callable[[int, int], Path]) -> None:
    logs = str(log_with(2, 3))
    for option in (["--margin", "match"], ["--margin", "match=-1"], ["--min-gain", "match=lots"]):
        result = runner.invoke(app, ["compare", logs, logs, *option])
        assert isinstance(result.exception, UserError)
        assert "margin" in str(result.exception) or "min-gain" in str(result.exception)
