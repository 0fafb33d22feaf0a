"""Evidence: a measured number and the digests of what it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from charter.errors import UserError


class Evidence(BaseModel):
    """One number of a run, and what it stands on."""

    # A report may say more about its numbers than is needed here, so other keys are let through.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    metric: str
    clauses: Mapping[str, str]
    """Clause id to the digest that the clause had when the number was measured."""
    suite: str = ""
    suite_digest: str = ""
    model_digest: str = ""
    time: str = ""
    """When it was measured, as ISO 8601."""


def read_evidence(run: Path) -> tuple[Evidence, ...]:
    """The evidence of a finished run, from its `report.json`. Raises UserError when there is none to read."""
    path, report = _report(run)
    rows = report.get("evidence")
    if not isinstance(rows, list):
        raise UserError(f'{path}: has no list "evidence", so nothing in it can be checked. Run the recipe again.')
    evidence = []
    for index, row in enumerate(rows):
        try:
            evidence.append(Evidence.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise UserError(f"{path}: evidence[{index}] {where}: {first['msg']}. Run the recipe again.") from None
    return tuple(evidence)


def measured_model(run: Path) -> tuple[str, str] | None:
    """Name and digest of the model that all numbers of a run were measured on, when the report says so."""
    candidate = _report(run)[1].get("candidate")
    if not isinstance(candidate, dict):
        return None
    name, digest = str(candidate.get("name") or ""), str(candidate.get("digest") or "")
    alone = {item.model_digest for item in read_evidence(run)} == {digest}
    return (name, digest) if name and digest and alone else None


def _report(run: Path) -> tuple[Path, dict[str, Any]]:
    path = run / "report.json" if run.is_dir() else run
    try:
        report: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Give the folder of a run that has finished; a run writes its report.json last."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the folder of a finished run.") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON report ({error}). Run the recipe again to write it anew.") from None
    if not isinstance(report, dict):
        raise UserError(f"{path}: not a run's report, which is a JSON object. Run the recipe again to write it anew.")
    return path, report
