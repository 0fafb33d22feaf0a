"""The files that a regression check leaves, each only where it was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from charter.errors import UserError
from charter.evaluation.regression import Regression
from charter.records import write_text

Format = Literal["junit", "json", "markdown", "sarif", "html"]
FORMATS: Final[tuple[Format, ...]] = ("junit", "json", "markdown", "sarif", "html")


def check_places(files: Mapping[Format, Path]) -> None:
    """Raises UserError for a name that cannot be a file, before minutes are spent on measuring."""
    for path in files.values():
        if path.is_dir():
            raise UserError(f"{path}: is a folder. Give the name of a file to write.")
    named = list(files.values())
    if len(set(named)) < len(named):
        raise UserError("Two outputs have the same file name, and one would overwrite the other. Give each its own.")


def write_outputs(regression: Regression, files: Mapping[Format, Path]) -> None:
    """Write every format asked for."""
    for format_, path in files.items():
        write_text(path, rendered(regression, format_))


def rendered(regression: Regression, format_: Format) -> str:
    """The check in one format, as text."""
    if format_ == "junit":
        from charter.evaluation.verdicts import junit_xml

        remarks = [finding.sentence() for finding in regression.slices] + list(regression.notes)
        return junit_xml(regression.result, remarks=remarks)
    if format_ == "json":
        return json.dumps(regression.as_json(), indent=1) + "\n"
    if format_ == "markdown":
        from charter.evaluation.comments import markdown

        return markdown(regression)
    if format_ == "sarif":
        from charter.evaluation.sarif import sarif

        return sarif(regression)
    from charter.report.regression import regression_html

    return regression_html(regression)
