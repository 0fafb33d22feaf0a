"""What a server asks for goes before our own pace, within bounds."""

from __future__ import annotations

import pytest

from charter.models.waiting import LONGEST_SECONDS, pause_seconds


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0", 0), ("-3", 0), ("1e9", LONGEST_SECONDS)])
def test_the_server_says_how_long(header: str, seconds: float) -> None:
    assert pause_seconds(0, header) == seconds


@pytest.mark.parametrize("header", [None, "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_else_each_pause_is_about_twice_the_one_before(header: str | None) -> None:
    for attempt in range(5):
        assert 0.75 * 0.5 * 2**attempt <= pause_seconds(attempt, header) <= 1.25 * 0.5 * 2**attempt
    assert pause_seconds(20, header) == LONGEST_SECONDS
