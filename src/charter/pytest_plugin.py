"""pytest: a test marked `charter_regress` fails when the candidate regressed against the base, or nobody can tell.

    @pytest.mark.charter_regress(base="runs/base", candidate="runs/tuned", margins={"knowledge": 0.05})
    def test_fine_tune_keeps_what_it_had(charter_regression): ...

The body runs first and may look at `charter_regression`; the verdict is then asserted, whatever the body did with it.
Nothing but pytest is imported here until a marked test runs, so that the plugin costs other test suites nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from charter.evaluation.regression import Regression

MARKER = "charter_regress"
_OPTIONS = ("base", "candidate", "suites", "margins", "gains", "only", "lower_is_better", "slice_by", "limit", "html")
_FOUND: pytest.StashKey[Any] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("charter", "charter: regression of language models")
    for side in ("base", "candidate"):
        group.addoption(
            f"--charter-{side}", metavar="MODEL_OR_LOGS", help=f"The {side} of charter_regress tests that name none."
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(base, candidate, suites, margins, gains, only, lower_is_better, slice_by, limit, html): fail "
        "when the candidate (a model name or Inspect logs) regressed against the base, or when the samples cannot tell",
    )


@pytest.fixture
def charter_regression(request: pytest.FixtureRequest) -> Regression:
    """The finished check of a test marked `charter_regress`: rows, verdict, weak slices, flipped samples."""
    return _regression(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """After the test's own assertions: the gate's. Inconclusive fails too, or it would look like a pass."""
    yield
    if item.get_closest_marker(MARKER) is None:
        return
    found = _regression(item)
    item.add_report_section("call", "charter regress", _summary(found))
    if found.result.verdict != "pass":
        pytest.fail(f"charter regress: {found.result.verdict}. {_summary(found)}", pytrace=False)


def _summary(found: Regression) -> str:
    remarks = [finding.sentence() for finding in found.slices] + list(found.notes)
    return "\n".join([f"{found.base} → {found.candidate}: {found.result.reason}", *remarks])


def _regression(item: Any) -> Regression:
    """Made once for a test, and kept with it."""
    if _FOUND not in item.stash:
        from charter.errors import UserError

        wrong = ""
        try:
            item.stash[_FOUND] = _check(item)
        except UserError as error:
            wrong = str(error)
        if wrong:
            pytest.fail(f"charter regress: {wrong}", pytrace=False)
    found: Regression = item.stash[_FOUND]
    return found


def _check(item: pytest.Item) -> Regression:
    from charter.errors import UserError, nearest
    from charter.evaluation.regression import Rules, check
    from charter.evaluation.sides import as_logs, measure, read_side, suites_named

    marker = item.get_closest_marker(MARKER)
    if marker is None:
        raise UserError(f"{item.nodeid} asks for charter_regression and is not marked. Add @pytest.mark.{MARKER}.")
    asked = dict(marker.kwargs) | dict(zip(_OPTIONS, marker.args, strict=False))
    for name in asked:
        if name not in _OPTIONS:
            raise UserError(f'{item.nodeid}: {MARKER} takes no "{name}".{nearest(name, list(_OPTIONS))}')
    suites = asked.get("suites")
    names = suites_named(",".join(suites) if suites is not None else None)
    sides = []
    for side in ("base", "candidate"):
        name = asked.get(side) or item.config.getoption(f"--charter-{side}")
        if not name:
            raise UserError(
                f"{item.nodeid}: no {side}. Give it in the marker, or as --charter-{side} on the command line."
            )
        logs = as_logs(str(name))
        folder = Path(item.config.rootpath) / "runs" / "regress" / side
        source = logs if logs is not None else measure(str(name), names, folder, asked.get("limit"), 0)
        read = read_side(str(name), source, asked.get("slice_by", "slice"))
        sides.append(read.only(names) if suites is not None else read)
    rules = Rules(
        margins=asked.get("margins", {}),
        gains=asked.get("gains", {}),
        only=tuple(asked.get("only", ())),
        lower_is_better=tuple(asked.get("lower_is_better", ())),
    )
    found = check(sides[0], sides[1], rules)
    if asked.get("html"):
        from charter.report.outputs import write_outputs

        write_outputs(found, {"html": Path(asked["html"])})
    return found
