"""Validate names of people: anything except characters that break lines or mail headers, or that mislead readers."""

import unicodedata

MAX_LENGTH = 100  # characters
NFC_MAX_SHRINK = 4  # NFC joins at most this many characters into one

FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Co", "Zl", "Zp"}  # controls, surrogates, private use, line breaks
BIDI_CONTROLS = {
    chr(point) for point in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}  # embedding, override, isolate
INVISIBLE_CATEGORIES = {"Cf", "Mc", "Me", "Mn", "Zs"}  # joiners, marks and spaces: fine within a name
INVISIBLE_LETTERS = set("\u115f\u1160\u2800\u3164\uffa0")  # Hangul and Braille fillers, which count as letters

EMPTY = "must not be empty"
TOO_LONG = f"must not be longer than {MAX_LENGTH} characters"
FORBIDDEN_CHARACTER = (
    "must not contain control characters, line breaks, private-use characters or text-direction controls"
)
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
    if all(_is_invisible(character) for character in composed):
        raise ValueError(INVISIBLE)
    return composed


def _is_forbidden(character: str) -> bool:
    return character in BIDI_CONTROLS or unicodedata.category(character) in FORBIDDEN_CATEGORIES


def _is_invisible(character: str) -> bool:
    return character in INVISIBLE_LETTERS or unicodedata.category(character) in INVISIBLE_CATEGORIES
