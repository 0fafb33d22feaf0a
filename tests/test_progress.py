"""Progress as plain lines, where stderr is no terminal."""

from __future__ import annotations

import pytest

from charter.progress import Bar, clock


def test_the_first_and_the_last_line_are_always_there(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("SFT", 3, "steps") as bar:
        for done in range(1, 4):
            bar.update(done, "loss 0.41")
    out, err = capsys.readouterr()
    first, last = err.splitlines()
    assert out == ""
    assert first == "SFT: 0/3 steps"
    assert last.startswith("SFT: 3/3 steps · ")
    assert "steps/s" in last
    assert last.endswith("loss 0.41")


def test_a_resumed_bar_does_not_count_the_earlier_work_as_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("charter.progress.time.monotonic", lambda: now[0])
    with Bar("SFT", 100, "steps") as bar:
        bar.update(90)
        for step in range(91, 101):
            now[0] += 2.0
            bar.update(step)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "SFT: 98/100 steps · 0.5 steps/s · 0:04 left"
    assert lines[-1] == "SFT: 100/100 steps · 0.5 steps/s · 0:20"


def test_nothing_to_do_is_no_division_by_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("data", 0, "rows") as bar:
        bar.update(0)
    assert capsys.readouterr().err.startswith("data: 0/1 rows")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
