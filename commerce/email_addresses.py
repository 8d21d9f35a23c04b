"""E-mail addresses: the one form customers are known by, and what an account may be opened with (A1)."""

import unicodedata

import idna
from email_validator import EmailNotValidError, ValidatedEmail, validate_email

MAX_LENGTH = 254  # characters of an account's address; no mail server takes a longer one
NFC_MAX_SHRINK = 4  # characters at most that NFC makes one of
# Alphabets with letters that look like another's: one label of a domain may use one of them only.
ALPHABETS = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC"}

NO_ADDRESS = "must be an e-mail address, like name@shop.example"
TOO_LONG = f"must not be longer than {MAX_LENGTH} characters"
ODD_LOCAL = "must have nothing but ASCII letters, digits and signs before the @"
BAD_LOCAL = "must have a name before the @ that mail servers take, of at most 64 characters"
ODD_DOMAIN = "must not have letters of another width or style after the @"
BAD_DOMAIN = "must have a domain after the @ that mail can be sent to"
MIXED_DOMAIN = "must not have a domain that mixes letters of several alphabets"


def normalise(address: str) -> str:
    """Return this address in the one form customers are known by: trimmed, NFC, lower case, its domain in ASCII.

    Takes anything, for guests come from other shops' files: a domain that IDNA does not know stays as it is. Normalise
    nothing of unbounded length: NFC takes time quadratic in the number of accents in a row.
    """
    trimmed = address.strip()
    if trimmed.isascii():
        return trimmed.lower()
    local, at, domain = unicodedata.normalize("NFC", trimmed).rpartition("@")
    return f"{local.lower()}{at}{_ascii(domain)}"


def validate(address: str) -> str:
    """Return, normalised, an address that an account may be opened with; whether it exists only a mail can tell.

    Raises ValueError, whose text never holds a part of the address: email-validator's own do.
    """
    trimmed = address.strip()
    local, _, domain = trimmed.rpartition("@")
    if not (local and domain):
        raise ValueError(NO_ADDRESS)
    if len(trimmed) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if not local.isascii():
        raise ValueError(ODD_LOCAL)
    if unicodedata.normalize("NFKC", domain) != unicodedata.normalize("NFC", domain):
        raise ValueError(ODD_DOMAIN)
    return _checked(normalise(trimmed))


def _checked(address: str) -> str:
    local, _, domain = address.rpartition("@")
    if len(address) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if _validated(f"{local}@shop.example") is None:
        raise ValueError(BAD_LOCAL)
    valid = _validated(address) if domain.isascii() else None
    if valid is None:
        raise ValueError(BAD_DOMAIN)
    if any(len(_alphabets(label)) > 1 for label in valid.domain.split(".")):
        raise ValueError(MIXED_DOMAIN)
    return address


def _validated(address: str) -> ValidatedEmail | None:
    try:
        return validate_email(
            address, check_deliverability=False, test_environment=True, allow_smtputf8=False, strict=True
        )
    except EmailNotValidError:
        return None


def _alphabets(label: str) -> set[str]:
    return {unicodedata.name(letter, "").partition(" ")[0] for letter in label} & ALPHABETS


def _ascii(domain: str) -> str:
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return unicodedata.normalize("NFC", domain.lower())
