"""Personal data and credentials: found with exact places, checked by their digits, and not seen where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.guard.layers.pii import PiiLayer, personal_data
from charter.guard.layers.secrets import SecretsLayer, entropy, secrets_in
from charter.guard.subject import Subject
from charter.guard.verdicts import redacted

pytest.importorskip("phonenumbers")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("EMAIL_ADDRESS", "jo.bloggs+x@mail.example.org"),
        ("CREDIT_CARD", "4111 1111 1111 1111"),
        ("CREDIT_CARD", "378282246310005"),
        ("IBAN_CODE", "GB29 NWBK 6016 1331 9268 19"),
        ("US_SSN", "536-22-1234"),
        ("IP_ADDRESS", "192.168.12.7"),
        ("IP_ADDRESS", "2001:db8::8a2e:370:7334"),
        ("PHONE_NUMBER", "+44 20 7946 0018"),
        ("PHONE_NUMBER", "(212) 555-0134"),
        ("PHONE_NUMBER", "751-954-9268"),
        ("CREDIT_CARD", "180001894718246"),
        ("IBAN_CODE", "de89370400440532013000"),
        ("CRYPTO", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("ES_NIF", "12345678Z"),
        ("IT_FISCAL_CODE", "RSSMRA85T10A562S"),
        ("STREET_ADDRESS", "221 Baker Street"),
    ],
)
def test_each_kind_is_found_at_its_place_in_code_points(kind: str, value: str) -> None:
    text = f"🙂é my own: {value}, thanks"
    spans = [(span.kind, text[span.start : span.end]) for span in personal_data(text)]
    assert (kind, value) in spans


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1112 is no card", "GB29 NWBK 6016 1331 9268 18", "call it 3.14159265358979",
     "version 1.2.3.4567 from 2024-05-17", "the year 1999-2003 and pages 120-145", "536-00-1234", "9434765919 items",
     "ISBN 978-3-16-148410-0", "12,345,678 people", "at 10:20:30 we met"],
)  # fmt: skip
def test_numbers_with_wrong_digits_or_another_meaning_are_left_alone(text: str) -> None:
    assert personal_data(text) == []


def test_a_number_that_many_things_look_like_needs_a_word_that_names_it() -> None:
    assert [span.kind for span in personal_data("My NHS number is 943 476 5919.")] == ["UK_NHS"]
    assert [span.kind for span in personal_data("PESEL: 44051401359")] == ["PL_PESEL"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("AWS_ACCESS_KEY", "AKIA" + "IOSFODNN7EXAMPLE"),
        ("GITHUB_TOKEN", "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"),
        ("OPENAI_KEY", "sk-proj-" + "abcdEFGH1234abcdEFGH1234"),
        ("ANTHROPIC_KEY", "sk-ant-" + "api03-abcdEFGH1234abcdEFGH"),
        ("JWT", "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0." + "dozjgNryP4J3jVmNHl0w5N"),
        ("SECRET", "tr0ub4dor&3xy"),
    ],
)
def test_credentials_are_found_at_their_place(kind: str, value: str) -> None:
    text = f"é🙂 the password is {value} ok" if kind == "SECRET" else f"é🙂 use {value} ok"
    assert (kind, value) in [(span.kind, text[span.start : span.end]) for span in secrets_in(text)]


@pytest.mark.parametrize(
    "text",
    ["How do I choose a good password?", "password: changeme", "The token is invalid, please log in again.",
     "My secret is that I love chocolate", "api_key = YOUR_API_KEY_HERE", "What is a bearer instrument?"],
)  # fmt: skip
def test_talk_about_secrets_is_no_secret(text: str) -> None:
    assert secrets_in(text) == []


def test_private_keys_are_one_span_to_their_end() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----"
    [span] = secrets_in(f"x {key} y")
    assert (span.start, span.end) == (2, 2 + len(key))


def test_redaction_replaces_each_span_by_its_kind_and_nothing_else() -> None:
    found = PiiLayer().check(Subject("Mail a@b.org or call +44 20 7946 0018!", "input"))
    assert found.verdict == "redact"
    assert (
        redacted("Mail a@b.org or call +44 20 7946 0018!", found.spans)
        == "Mail [EMAIL_ADDRESS] or call [PHONE_NUMBER]!"
    )
    assert SecretsLayer().check(Subject("nothing here", "input")).verdict == "allow"


@given(st.text(max_size=150))
def test_any_text_is_searched_and_places_lie_inside_it(text: str) -> None:
    for span in [*personal_data(text), *secrets_in(text)]:
        assert 0 <= span.start < span.end <= len(text)


def test_entropy_is_shannons() -> None:
    assert entropy("abcd") == 2.0
    assert entropy("aaaa") == 0.0
