"""Checkers of a whole behaviour in a text, without a judge: values by metric for one completion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

TextCheck = Callable[[Mapping[str, Any], str], dict[str, float]]

TEXT_CHECKS: Final[Mapping[str, TextCheck]] = MappingProxyType({})


def check_text(kind: str, check: Mapping[str, Any], text: str) -> dict[str, float]:
    """The values of one completion under the suite's checker; `check` is the sample's."""
    return TEXT_CHECKS[kind](check, text)
