"""Check digits against numbers that the issuing bodies publish as examples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.guard import checksums as c


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (c.luhn, "4111111111111111"),
        (c.luhn, "378282246310005"),
        (c.iban, "GB29NWBK60161331926819"),
        (c.iban, "DE89370400440532013000"),
        (c.iban, "NO9386011117947"),
        (c.verhoeff, "2363"),
        (c.nhs, "9434765919"),
        (c.pesel, "44051401359"),
        (c.tfn, "123456782"),
        (c.nif, "12345678Z"),
        (c.nif, "X1234567L"),
        (c.fiscal_code, "RSSMRA85T10A562S"),
        (c.steuer_id, "86095742719"),
        (c.nric, "S1234567D"),
        (c.bitcoin, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        (c.ssn, "536221234"),
    ],
)
def test_published_examples_hold_and_a_changed_digit_does_not(check, good) -> None:  # type: ignore[no-untyped-def]
    assert check(good)
    place = next(i for i, char in enumerate(good) if char.isdigit() and i >= len(good) // 2)
    wrong = good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :]
    if check is not c.ssn:
        assert not check(wrong)


@given(st.text(alphabet="0123456789", min_size=11, max_size=18))
def test_every_number_has_exactly_one_luhn_digit(digits: str) -> None:
    passing = [d for d in "0123456789" if c.luhn(digits + d)]
    assert len(passing) == (0 if not digits.strip("0") else 1)


def test_ranges_never_given_out_are_no_social_security_numbers() -> None:
    for number in ("000123456", "666123456", "900123456", "123006789", "123450000", "078051120"):
        assert not c.ssn(number)
