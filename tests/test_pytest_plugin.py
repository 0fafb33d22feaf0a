"""The pytest plugin, through pytest's own tester: verdicts become outcomes, and nothing heavy is imported unused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy  # noqa: F401  # loads once a process, and pytester forgets what was imported inside its runs
import pytest
import scipy.stats  # noqa: F401  # likewise
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from table_model import table_model

pytest_plugins = ["pytester"]
PLUGIN = ("-p", "charter.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a log in which the first so many of 60 samples are right."""
    made: dict[int, Path] = {}

    def make(right: int) -> Path:
        if right not in made:
            made[right] = tmp_path_factory.mktemp("logs")
            task = Task([Sample(id=i, input=str(i), target="yes") for i in range(60)], scorer=match(), name="quiz")
            model = table_model(lambda text: "yes" if int(text) < right else "no")
            inspect_eval(task, model=model, display="none", log_dir=str(made[right]))
        return made[right]

    return make


def test_the_verdict_is_the_outcome(pytester: pytest.Pytester, logs: Callable[[int], Path]) -> None:
    good, bad, doubtful = logs(50), logs(20), logs(46)
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.charter_regress(base={str(good)!r}, candidate={str(good)!r})
        def test_same(charter_regression):
            assert charter_regression.result.verdict == "pass"

        @pytest.mark.charter_regress({str(good)!r}, {str(bad)!r}, html="page.html")
        def test_fell():
            pass

        @pytest.mark.charter_regress(base={str(good)!r}, candidate={str(doubtful)!r})
        def test_cannot_tell(charter_regression):
            assert charter_regression.result.verdict == "inconclusive"

        @pytest.mark.charter_regress(base={str(good)!r}, candidate={str(bad)!r}, margins={{"match": 0.9}})
        def test_allowed():
            pass

        def test_plain():
            pass
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN, "--strict-markers", "-rA")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(["*charter regress: regressed*", "*match: -50.0 points*"])
    result.stdout.fnmatch_lines(["*charter regress: inconclusive*"])
    assert "<!DOCTYPE html>" in (pytester.path / "page.html").read_text()


def test_sides_from_the_command_line_and_wrong_use(pytester: pytest.Pytester, logs: Callable[[int], Path]) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.charter_regress
        def test_sides():
            pass

        @pytest.mark.charter_regress(margin={"match": 0.1})
        def test_misspelt():
            pass

        def test_unmarked(charter_regression):
            pass
        """
    )
    side = str(logs(50))
    result = pytester.runpytest_inprocess(*PLUGIN, "--charter-base", side, "--charter-candidate", side)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines_random(['*takes no "margin"*Did you mean "margins"*', "*is not marked*"])
    bare = pytester.runpytest_inprocess(*PLUGIN, "-k", "not misspelt and not unmarked")
    bare.assert_outcomes(failed=1)
    bare.stdout.fnmatch_lines(["*no base*--charter-base*"])


def test_a_test_that_fails_of_itself_keeps_its_own_reason(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.charter_regress(base="nowhere", candidate="nowhere")
        def test_own():
            assert 1 == 2
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])


def test_unused_it_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_light():
            heavy = {"torch", "transformers", "inspect_ai", "scipy", "numpy", "jinja2", "charter.evaluation"}
            assert not heavy & set(sys.modules)
        """
    )
    result = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:hypothesispytest", "-p", "no:inspect_ai")
    result.assert_outcomes(passed=1)
