"""Check digits of numbers that identify people and accounts: pure functions on the digits."""

from __future__ import annotations

import hashlib
from typing import Final

IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country (SWIFT IBAN registry)."""
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VERHOEFF_D: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def luhn(digits: str) -> bool:
    """Luhn's mod 10 (ISO/IEC 7812): payment cards, Canada's social insurance number."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0 and any(d != "0" for d in digits)


def iban(code: str) -> bool:
    """ISO 13616: the country's length, and 1 modulo 97 with the first four characters moved to the end."""
    code = code.upper()
    if IBAN_LENGTHS.get(code[:2]) != len(code) or not code.isalnum() or not code.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


def verhoeff(digits: str) -> bool:
    """Verhoeff's scheme: India's Aadhaar."""
    check = 0
    for i, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[i % 8][int(digit)])])
    return check == 0


def weighted(digits: str, weights: tuple[int, ...], modulus: int) -> bool:
    """Whether the weighted sum of all digits, the check digit included, is 0 modulo `modulus`."""
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True)) % modulus == 0


def nhs(digits: str) -> bool:
    """UK's NHS number: ten digits, mod 11."""
    return len(digits) == 10 and weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11)


def pesel(digits: str) -> bool:
    """Poland's PESEL: eleven digits, mod 10."""
    return len(digits) == 11 and weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10)


def tfn(digits: str) -> bool:
    """Australia's tax file number: nine digits, mod 11."""
    return len(digits) == 9 and weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11)


def nif(code: str) -> bool:
    """Spain's NIF and NIE: eight digits (X, Y, Z stand for 0, 1, 2 in front) and the letter of their remainder."""
    digits = code[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return digits.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == code[-1]


def fiscal_code(code: str) -> bool:
    """Italy's codice fiscale: sixteen characters, the last a check letter."""
    odd = dict(
        zip(
            "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14,
             16, 10, 22, 25, 24, 23),
            strict=True,
        )
    )  # fmt: skip
    total = sum(odd[c] if i % 2 == 0 else int(c, 36) - 10 * c.isalpha() for i, c in enumerate(code[:15]))
    return chr(ord("A") + total % 26) == code[15]


def steuer_id(digits: str) -> bool:
    """Germany's tax id: eleven digits, ISO 7064 mod 11,10, no leading zero."""
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return digits[0] != "0" and (11 - product) % 10 == int(digits[10])


def nric(code: str) -> bool:
    """Singapore's NRIC and FIN: a letter, seven digits, a check letter."""
    total = sum(int(d) * w for d, w in zip(code[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += 4 * (code[0] in "TG")
    return ("JZIHGFEDCBA" if code[0] in "ST" else "XWUTRQPNMLK")[total % 11] == code[8]


def bitcoin(address: str) -> bool:
    """A base58 Bitcoin address: the last four bytes are a double sha256 of the rest."""
    number = 0
    for c in address:
        place = _BASE58.find(c)
        if place < 0:
            return False
        number = number * 58 + place
    try:
        raw = number.to_bytes(25, "big")
    except OverflowError:
        return False
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


def ssn(digits: str) -> bool:
    """United States' social security number: no check digit, but ranges that were never given out."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    made_up = digits in ("123456789", "987654321", "078051120") or len(set(digits)) == 1
    return not made_up and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
