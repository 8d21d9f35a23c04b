"""Guests and accounts share one normalised form of their address, and an account's address must be valid (A1)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commerce import email_addresses
from commerce.email_addresses import (
    INVALID_DOMAIN,
    INVALID_LOCAL_PART,
    LOOKALIKE_CHARACTERS,
    MAX_LENGTH,
    MIXED_ALPHABETS,
    NON_ASCII_LOCAL_PART,
    NOT_AN_ADDRESS,
    TOO_LONG,
    normalise_address,
    validate_address,
)
from commerce.imports import parsers
from commerce.imports.parsers import BadValue

REASONS = {
    INVALID_DOMAIN,
    INVALID_LOCAL_PART,
    MIXED_ALPHABETS,
    NOT_AN_ADDRESS,
    LOOKALIKE_CHARACTERS,
    NON_ASCII_LOCAL_PART,
    TOO_LONG,
}
LONGEST = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 53}.example"
TRICKY = st.sampled_from("aZ9.-_+@ \"<>[]():;,\\'%éßЖоαＡﬁ①。．\u0308\u0338\u200b\u200d\u202e\ud800\u0345ΣİK日文אב")


@pytest.mark.parametrize(
    ("address", "normalised"),
    [
        ("ann@shop.example", "ann@shop.example"),
        ("  Ann@SHOP.Example\n", "ann@shop.example"),
        ("Jo@Ünï.Example", "jo@xn--n-nga1b.example"),
        ("jo@u\u0308ni\u0308.example", "jo@xn--n-nga1b.example"),
        ("jo@XN--N-NGA1B.example", "jo@xn--n-nga1b.example"),
        ("jo@straße.example", "jo@xn--strae-oqa.example"),
        ("jo@日本語。example", "jo@xn--wgv71a119e.example"),
        ("Jo\u0308@Ünï.example", "jö@xn--n-nga1b.example"),
    ],
)
def test_variants_of_an_address_have_one_normalised_form(address: str, normalised: str) -> None:  # (A1)
    assert normalise_address(address) == parsers.email(address.strip()) == normalised


@pytest.mark.parametrize("address", ["jo@ünï_.example", "jo@-ü.example", f"jo@{'ü' * 80}.example"])
def test_a_domain_that_is_invalid_in_idna_is_only_lowercased(address: str) -> None:
    assert normalise_address(address.upper()) == parsers.email(address.upper()) == address


@given(st.text() | st.text(TRICKY))
@example("\u0130\u0316@")  # İ with one more accent
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise_address(text)
    assert normalise_address(once) == once


@given(st.emails() | st.builds("{}@{}.example".format, st.text(TRICKY, min_size=1), st.text(TRICKY, min_size=1)))
def test_a_guest_and_an_account_with_the_same_address_have_the_same_form(address: str) -> None:
    try:
        account = validate_address(address)
    except ValueError as error:
        assert str(error) in REASONS
    else:
        assert account == validate_address(account) == normalise_address(address) == parsers.email(address.strip())
        assert account.isascii() and len(account) <= MAX_LENGTH


@given(st.text() | st.text(TRICKY))
def test_errors_are_fixed_texts_for_any_input(text: str) -> None:
    try:
        validate_address(text)
    except ValueError as error:
        assert type(error) is ValueError and str(error) in REASONS
        assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    "address",
    [
        *("ann@shop.example", "a@b.example", "o'brien+shop@shop.example", "ann@shop.test", "ann@mail.shop.co.uk"),
        *("ann@bücher.example", "ann@почта.example", "ann@αθήνα.example", "ann@日本ひらabc.example", "ann@א.example"),
        LONGEST,
    ],
)
def test_valid_addresses_of_accounts(address: str) -> None:
    assert validate_address(f" {address.upper()} ") == normalise_address(address)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", NOT_AN_ADDRESS),
        ("ann", NOT_AN_ADDRESS),
        ("ann@", NOT_AN_ADDRESS),
        ("@shop.example", NOT_AN_ADDRESS),
        (f"a{LONGEST}", TOO_LONG),
        (f"ann@{'b' * 63}.{LONGEST.partition('@')[2]}", TOO_LONG),
        (f"{'a' * 64}@{'ü.' * 27}example", TOO_LONG),
        ("a" * 1_000_000 + "@shop.example", TOO_LONG),
        ("jö@shop.example", NON_ASCII_LOCAL_PART),
        ("аnn@shop.example", NON_ASCII_LOCAL_PART),
        ("ann\u212a@shop.example", NON_ASCII_LOCAL_PART),  # the Kelvin sign, whose lower case is k
        ("an n@shop.example", INVALID_LOCAL_PART),
        ("ann\0@shop.example", INVALID_LOCAL_PART),
        ("ann@bob@shop.example", INVALID_LOCAL_PART),
        ("ann..bob@shop.example", INVALID_LOCAL_PART),
        (".ann@shop.example", INVALID_LOCAL_PART),
        ('"ann"@shop.example', INVALID_LOCAL_PART),
        ('"ann bob"@shop.example', INVALID_LOCAL_PART),
        ("Ann <ann@shop.example>", INVALID_LOCAL_PART),
        ("a" * 65 + "@shop.example", INVALID_LOCAL_PART),
        ("ann@ｓhop.example", LOOKALIKE_CHARACTERS),
        ("ann@ﬁsh.example", LOOKALIKE_CHARACTERS),
        ("ann@shop．example", LOOKALIKE_CHARACTERS),
        ("ann@[127.0.0.1]", INVALID_DOMAIN),
        ("ann@127.0.0.1", INVALID_DOMAIN),
        ("ann@localhost", INVALID_DOMAIN),
        ("ann@shop.invalid", INVALID_DOMAIN),
        ("ann@shop", INVALID_DOMAIN),
        ("ann@shop..example", INVALID_DOMAIN),
        ("ann@-shop.example", INVALID_DOMAIN),
        ("ann@shop_.example", INVALID_DOMAIN),
        ("ann@sh\u200bop.éxample\u202e", INVALID_DOMAIN),
        ("ann@xn--a.example", INVALID_DOMAIN),
        ("ann@shop.example>", INVALID_DOMAIN),
        ("ann@shоp.example", MIXED_ALPHABETS),
        ("ann@xn--shp-ted.example", MIXED_ALPHABETS),  # the same in Punycode
        ("ann@shοp.example", MIXED_ALPHABETS),
    ],
)
def test_invalid_addresses_of_accounts(address: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        validate_address(address)
    assert str(raised.value) == reason


def test_a_very_long_address_is_refused_before_it_is_normalised() -> None:
    accents = "\u0316\u0301" * 1_000_000
    with pytest.raises(BadValue, match="must not be longer than 320 characters"):
        parsers.email(f"a{accents}@shop.example")
    with pytest.raises(ValueError, match=email_addresses.TOO_LONG):
        validate_address(f"a@a{accents}.example")
