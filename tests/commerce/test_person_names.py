"""Names of people are almost unrestricted, but cannot break lines or mislead readers."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.person_names import (
    EMPTY,
    FORBIDDEN_CHARACTER,
    INVISIBLE,
    MAX_LENGTH,
    TOO_LONG,
    WEB_ADDRESS,
    validate_name,
)

REASONS = {EMPTY, FORBIDDEN_CHARACTER, TOO_LONG, INVISIBLE, WEB_ADDRESS}


@pytest.mark.parametrize(
    "name",
    [
        *("Ann", "O'Brien-Smith", "José Müller", "李小龍", "Øyvind Å.", "X Æ A-12", "محمد", "ที่รัก", "<script>", "💐"),
        *(
            "J.R.R. Tolkien",
            "St.John",
            "st.john",
            "Dr.Müller",
            "prof.smith",
            "Mary.Ann",
            "Jo.An",
            "A/S",
            "Ravi s/o Kumar",
        ),
        *("Ann (née Lee)", "d.lee", "Ann, Lee; Bob", "@nn", "Ann:", "1. Ann", "Jr."),
        *("ക്‍", "می‌خواهم", "Ann\u00a0Lee", "a" * MAX_LENGTH),
    ],
)
def test_valid_names(name: str) -> None:
    assert validate_name(f"\u3000 {name}\n") == name


def test_a_name_is_composed_to_nfc() -> None:
    assert validate_name("Jose\u0301") == "José"
    assert validate_name("e\u0301" * MAX_LENGTH) == "é" * MAX_LENGTH


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *[(name, EMPTY) for name in ("", "   ", "\t\r\n", "\u2028")],
        *[("a" * (MAX_LENGTH + 1), TOO_LONG), ("e" + "\u0316\u0301" * 1_000_000, TOO_LONG)],
        *[
            (f"Ann{character}Lee", FORBIDDEN_CHARACTER)
            for character in "\0\n\r\t\x1b\x7f\x85\u2028\u2029\ud800\ue000\U0010fffd"
        ],
        *[
            (f"Ann{character}Lee", FORBIDDEN_CHARACTER)
            for character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\u200e\u200f\ufff9\U000e0041"
        ],
        *[
            (name, WEB_ADDRESS)
            for name in (
                *("You won 500 GBP, claim at https://evil.example/x", "HTTP://EVIL", "ftp://evil", "//evil/x"),
                *("www.evil", "WWW.EVIL.EXAMPLE", "evil.example/claim", "evil.com", "EVIL.COM", "go to t.me/x now"),
                *(
                    "evil.museum",
                    "a.b.evil.zip",
                    "evil。com",
                    "ｅｖｉｌ．ｃｏｍ",
                    "bücher.de",
                    "ann@evil.example",
                    "правительство.рф",
                ),
            )
        ],
        *[(name, INVISIBLE) for name in ("\u0301", "\u200b", "\u200d\u200c", "\ufeff", "\u3164", "\u2800 \u115f")],
    ],
)
def test_invalid_names(name: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        validate_name(name)
    assert str(raised.value) == reason


@given(st.text(st.characters(), max_size=2 * MAX_LENGTH))
def test_validation_is_idempotent_and_errors_are_fixed_texts(text: str) -> None:
    try:
        name = validate_name(text)
    except ValueError as error:
        assert str(error) in REASONS
    else:
        assert validate_name(name) == name == unicodedata.normalize("NFC", text).strip()
        assert 1 <= len(name) <= MAX_LENGTH
