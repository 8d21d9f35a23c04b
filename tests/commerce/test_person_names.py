"""Names: people have all sorts of them; what breaks lines or misleads readers is none."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.person_names import EMPTY, FORBIDDEN, MAX_LENGTH, TOO_LONG, UNSEEN, checked_name

REASONS = {EMPTY, FORBIDDEN, TOO_LONG, UNSEEN}


@pytest.mark.parametrize(
    "name",
    [
        *("Ann", "O'Brien-Smith", "José Müller", "李小龍", "Øyvind Å.", "X Æ A-12", "محمد", "ที่รัก", "<script>", "💐"),
        *("ക്‍", "می‌خواهم", "Ann\u00a0Lee", "a" * MAX_LENGTH),
    ],
)
def test_people_are_called(name: str) -> None:
    assert checked_name(f"\u3000 {name}\n") == name


def test_a_name_is_kept_composed() -> None:
    assert checked_name("Jose\u0301") == "José"
    assert checked_name("e\u0301" * MAX_LENGTH) == "é" * MAX_LENGTH


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *[(name, EMPTY) for name in ("", "   ", "\t\r\n", "\u2028")],
        *[("a" * (MAX_LENGTH + 1), TOO_LONG), ("e" + "\u0316\u0301" * 1_000_000, TOO_LONG)],
        *[(f"Ann{sign}Lee", FORBIDDEN) for sign in "\0\n\r\t\x1b\x7f\x85\u2028\u2029\ud800\ue000\U0010fffd"],
        *[(f"Ann{sign}Lee", FORBIDDEN) for sign in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"],
        *[(name, UNSEEN) for name in ("\u0301", "\u200b", "\u200d\u200c", "\ufeff", "\u3164", "\u2800 \u115f")],
    ],
)
def test_nobody_is_called(name: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:
        checked_name(name)
    assert str(refusal.value) == reason


@given(st.text(st.characters(), max_size=2 * MAX_LENGTH))
def test_a_name_that_is_taken_stays_and_what_is_told_of_another_is_one_of_a_few_sentences(text: str) -> None:
    try:
        name = checked_name(text)
    except ValueError as error:
        assert str(error) in REASONS
    else:
        assert checked_name(name) == name == unicodedata.normalize("NFC", text).strip()
        assert 1 <= len(name) <= MAX_LENGTH
