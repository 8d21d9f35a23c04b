"""Mask personal data in lists: enough to recognize a customer whom one knows, and no more."""

import unicodedata

MAX_WORDS = 3
HIDDEN = "…"


def mask_name(name: str | None) -> str | None:
    """Return the first letter of each of the first words of a name: `A… L…` for `Ann Lee`; None for an empty name."""
    words = (name or "").split()[:MAX_WORDS]
    return " ".join(f"{_first_letter(word)}{HIDDEN}" for word in words) or None


def mask_address(email: str | None) -> str | None:
    """Return an e-mail address with the first letter of its local part: `a…@customer.example`."""
    if not email:
        return None
    local, _, domain = email.rpartition("@")
    return f"{_first_letter(local)}{HIDDEN}@{domain}"


def mask_addresses(recipients: str) -> str:
    """Return addresses that are separated by commas, each masked."""
    return ", ".join(filter(None, (mask_address(address.strip()) for address in recipients.split(","))))


def _first_letter(word: str) -> str:
    """Return the first letter with its marks, such as accents and vowel signs."""
    end = next((i for i, letter in enumerate(word) if i and not unicodedata.category(letter).startswith("M")), None)
    return word[:end]
