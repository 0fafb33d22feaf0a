"""Text held back: nothing of a forbidden string goes on, wherever the stream is cut, and all else does."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layers import PHONE, SECRET, stack

from charter.guard.verdicts import Decision
from charter.server.holdback import HoldBack, Pace

STACK = stack()
PACE = Pace(overlap=12, step=16, least=4)


async def check(text: str) -> Decision:
    return STACK.check_output("", text)


def streamed(pieces: list[str], pace: Pace = PACE) -> tuple[str, HoldBack, list[str]]:
    """(what went on, the stream, what went on at each piece and at the end)."""

    async def run() -> tuple[HoldBack, list[str]]:
        held = HoldBack(check, pace)
        out = [await held.feed(piece) for piece in pieces]
        return held, [*out, await held.finish()]

    held, out = asyncio.run(run())
    return "".join(out), held, out


@pytest.mark.parametrize("before", ["", "Hi. ", "One sentence. Another one, and a third that is long. "])
def test_a_forbidden_string_is_never_begun_wherever_it_is_cut(before: str) -> None:
    text = f"{before}{SECRET} and so on."
    for first in range(len(text)):
        for second in range(first, len(text), 3):
            said, held, _ = streamed([text[:first], text[first:second], text[second:]])
            assert held.stopped is not None
            assert before.startswith(said), said


def test_a_character_at_a_time_is_no_other_stream() -> None:
    text = f"Of course. This is fine, and so is that! Then comes {SECRET}."
    said, held, _ = streamed(list(text))
    assert held.stopped is not None
    assert "Of course. This is fine".startswith(said[:23])
    assert SECRET[:1] not in said
    fine = "Of course. This is fine, and so is that! Then comes nothing of the kind. " * 4
    said, held, out = streamed(list(fine))
    assert (said, held.stopped) == (fine, None)
    assert sum(map(bool, out)) > 8


@given(st.text(alphabet="ab1 -2.é😀", max_size=120), st.integers(1, 9), st.integers(0, 120))
def test_what_goes_on_is_the_text_or_what_redaction_makes_of_it(text: str, width: int, place: int) -> None:
    text = text[:place] + "555-1234" + text[place:]
    said, held, _ = streamed([text[i : i + width] for i in range(0, len(text), width)])
    assert held.stopped is None
    assert said == PHONE.sub("[PHONE]", text)


def test_a_check_sees_a_bounded_window_and_the_whole_when_its_length_has_doubled() -> None:
    seen: list[int] = []

    async def counted(text: str) -> Decision:
        seen.append(len(text))
        return STACK.check_output("", text)

    async def run() -> None:
        held = HoldBack(counted, PACE)
        for _ in range(4000):
            await held.feed("word ")
        await held.finish()

    asyncio.run(run())
    whole = [length for length in seen if length > 100]
    assert len(whole) == 5  # 2,000, 4,000, 8,000 and 16,000 characters, and the end
    assert max(length for length in seen if length <= 100) <= 2 * PACE.overlap + PACE.step + 5
    assert sum(seen) < 6 * 20000


def test_text_goes_on_before_its_end() -> None:
    _, _, out = streamed(["A first sentence. ", "A second sentence. ", "A third sentence. "])
    assert out[0] == "A firs"  # twelve characters are held back
    assert "".join(out[:-1]).endswith("thir")


def test_a_pace_that_holds_nothing_back_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Pace(overlap=0)
    with pytest.raises(ValueError, match="at least 1"):
        Pace(step=3, least=4)
