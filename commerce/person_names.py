"""Validate names of people: anything except what breaks lines or mail headers, misleads readers, or is an address.

The welcome mail greets by name, so a name with a link would make the shop's mail server send it to anyone.
"""

import unicodedata

from commerce.plain_text import has_web_address

MAX_LENGTH = 100  # characters
NFC_MAX_SHRINK = 4  # NFC joins at most this many characters into one

FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Co", "Zl", "Zp"}  # controls, surrogates, private use, line breaks
BIDI_CONTROLS = {
    chr(point) for point in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}  # marks, embedding, override, isolate
HIDDEN = {chr(point) for point in (*range(0x206A, 0x2070), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080))}
INVISIBLE_CATEGORIES = {"Cf", "Mc", "Me", "Mn", "Zs"}  # joiners, marks and spaces: fine within a name
INVISIBLE_LETTERS = set("\u115f\u1160\u2800\u3164\uffa0")  # Hangul and Braille fillers, which count as letters

EMPTY = "must not be empty"
TOO_LONG = f"must not be longer than {MAX_LENGTH} characters"
FORBIDDEN_CHARACTER = (
    "must not contain control characters, line breaks, private-use characters or text-direction controls"
)
WEB_ADDRESS = "must not contain a web or e-mail address"
INVISIBLE = "must have a visible character"


def validate_name(name: str) -> str:
    """Return a name of 1 to 100 characters, trimmed and in NFC. Joiners (ZWJ, ZWNJ) stay; some scripts need them.

    Raises ValueError, without the name.
    """
    trimmed = name.strip()
    if not trimmed:
        raise ValueError(EMPTY)
    if len(trimmed) > MAX_LENGTH * NFC_MAX_SHRINK:  # NFC takes time quadratic in the length of a run of accents
        raise ValueError(TOO_LONG)
    composed = unicodedata.normalize("NFC", trimmed)
    if len(composed) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if any(_is_forbidden(character) for character in composed):
        raise ValueError(FORBIDDEN_CHARACTER)
    if has_web_address(composed):
        raise ValueError(WEB_ADDRESS)
    if all(_is_invisible(character) for character in composed):
        raise ValueError(INVISIBLE)
    return composed


def _is_forbidden(character: str) -> bool:
    return character in BIDI_CONTROLS or character in HIDDEN or unicodedata.category(character) in FORBIDDEN_CATEGORIES


def _is_invisible(character: str) -> bool:
    return character in INVISIBLE_LETTERS or unicodedata.category(character) in INVISIBLE_CATEGORIES
