"""Judges by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from charter.errors import UserError, nearest
from charter.ports import Judge


def _refusal() -> Judge:
    from charter.judges.refusal import RefusalJudge

    return RefusalJudge()


_JUDGES: Final[dict[str, Callable[[], Judge]]] = {"refusal": _refusal}


def judge_names() -> list[str]:
    """The names that `judge` knows."""
    return sorted(_JUDGES)


def judge(name: str) -> Judge:
    """The judge of that name, loaded. Raises UserError for an unknown name, or when its model is not installed."""
    if name not in _JUDGES:
        known = judge_names()
        raise UserError(f'There is no judge named "{name}".{nearest(name, known)} Judges: {", ".join(known)}.')
    return _JUDGES[name]()
