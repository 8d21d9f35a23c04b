"""Normalise e-mail addresses of customers, and validate those of accounts (A1)."""

import unicodedata

import idna
from email_validator import EmailNotValidError, ValidatedEmail, validate_email

MAX_LENGTH = 254  # characters of an account's address; mail servers accept no longer ones
NFC_MAX_SHRINK = 4  # NFC joins at most this many characters into one
# Alphabets with letters that look alike: each label of a domain may use only one of them.
CONFUSABLE_ALPHABETS = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"}

NOT_AN_ADDRESS = "must be an e-mail address, like name@shop.example"
TOO_LONG = f"must not be longer than {MAX_LENGTH} characters"
NON_ASCII_LOCAL_PART = "must have only ASCII characters before the @"
INVALID_LOCAL_PART = "must have a valid name of at most 64 characters before the @"
LOOKALIKE_CHARACTERS = "must not have characters of another width or style after the @"
INVALID_DOMAIN = "must have a domain after the @ that can receive mail"
MIXED_ALPHABETS = "must not have a domain that mixes several alphabets"


def normalise_address(address: str) -> str:
    """Return the form by which a customer is found: trimmed, NFC, lower case, the domain in ASCII.

    Accepts any text, because guests come from other systems' files: a domain that is invalid in IDNA is lower-cased.
    Limit the length first: NFC takes time quadratic in the length of a run of accents.
    """
    trimmed = address.strip()
    if trimmed.isascii():
        return trimmed.lower()
    local, at, domain = unicodedata.normalize("NFC", trimmed).rpartition("@")
    return f"{_lower(local)}{at}{_ascii(domain)}"


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", text.lower())  # a lower-case İ has an accent of its own, which has its place


def validate_address(address: str) -> str:
    """Return the normalised form of an address that is valid for an account. Whether it exists is not checked.

    Raises ValueError with one of this module's reasons; those of email-validator contain parts of the address.
    """
    trimmed = address.strip()
    local, _, domain = trimmed.rpartition("@")
    if not (local and domain):
        raise ValueError(NOT_AN_ADDRESS)
    if len(trimmed) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if not local.isascii():
        raise ValueError(NON_ASCII_LOCAL_PART)
    if unicodedata.normalize("NFKC", domain) != unicodedata.normalize("NFC", domain):
        raise ValueError(LOOKALIKE_CHARACTERS)
    return _validate_normalised(normalise_address(trimmed))


def _validate_normalised(address: str) -> str:
    local, _, domain = address.rpartition("@")
    if len(address) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if _parse(f"{local}@shop.example") is None:
        raise ValueError(INVALID_LOCAL_PART)
    parsed = _parse(address) if domain.isascii() else None
    if parsed is None:
        raise ValueError(INVALID_DOMAIN)
    if any(len(_alphabets(label)) > 1 for label in parsed.domain.split(".")):
        raise ValueError(MIXED_ALPHABETS)
    return address


def _parse(address: str) -> ValidatedEmail | None:
    try:
        return validate_email(
            address, check_deliverability=False, test_environment=True, allow_smtputf8=False, strict=True
        )
    except EmailNotValidError:
        return None


def _alphabets(label: str) -> set[str]:
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in label} & CONFUSABLE_ALPHABETS


def _ascii(domain: str) -> str:
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return _lower(domain)
