"""The errors that a person is meant to read. Every one says what was wrong, where, and what to do."""

from __future__ import annotations

from typing import Final

EXIT_DONE: Final = 0
EXIT_REGRESSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INCONCLUSIVE: Final = 3
EXIT_UNFINISHED: Final = 4
EXIT_INTERRUPTED: Final = 130


class UserError(Exception):
    """Wrong input or usage: one paragraph for the user, exit code 2, no traceback."""

    exit_code: int = EXIT_USAGE


class Unfinished(UserError):
    """The input was right but the work could not be finished (endpoint down, infinite loss): exit code 4."""

    exit_code: int = EXIT_UNFINISHED


def nearest(word: str, known: list[str]) -> str:
    """' Did you mean "x"?' for the closest known name, or an empty string when none is close."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""
