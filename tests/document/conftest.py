"""Small charters, written to disk as a user would write them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a dedented text under the test's folder and return its path."""

    def _write(text: str, name: str = "charter.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return _write


@pytest.fixture
def small() -> str:
    """A correct charter of two clauses. Line 5 is where the clauses begin."""
    return textwrap.dedent(
        """\
        charter: 1
        name: small
        version: "1"
        clauses:
          - id: harm.violence
            kind: must_not
            rule: Do not help anyone hurt people.
            severity: high
            train: [pairs]
            test: [harmful_requests]
          - id: tone.plain
            kind: tone
            rule: Write plainly.
        """
    )
