"""Names of people: almost anything goes, but what would break a line, a mail's header or a reader's eye."""

import unicodedata

MAX_LENGTH = 100  # characters
COMPOSED_OF = 4  # characters at most that NFC makes one of

FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Co", "Zl", "Zp"}  # controls, surrogates, private use, line breaks
BIDI_CONTROLS = {chr(point) for point in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}  # embed, override, isolate
UNSEEN_CATEGORIES = {"Cf", "Mc", "Me", "Mn", "Zs"}  # joiners, marks and spaces: fine in a name, but no name alone
UNSEEN_LETTERS = set("\u115f\u1160\u2800\u3164\uffa0")  # fillers of Hangul and Braille: letters that nobody sees

EMPTY = "must not be empty"
TOO_LONG = f"must not be longer than {MAX_LENGTH} characters"
FORBIDDEN = "must not hold control characters, line breaks, private characters or marks that turn the direction of text"
UNSEEN = "must have a letter, a digit or a sign that can be seen"


def checked_name(name: str) -> str:
    """Return this name trimmed and in NFC, 1 to 100 characters; joiners (ZWJ, ZWNJ) stay, some scripts need them.

    Raises ValueError, whose text never holds a part of the name.
    """
    trimmed = name.strip()
    if not trimmed:
        raise ValueError(EMPTY)
    if len(trimmed) > MAX_LENGTH * COMPOSED_OF:  # NFC takes time quadratic in the number of accents in a row
        raise ValueError(TOO_LONG)
    composed = unicodedata.normalize("NFC", trimmed)
    if len(composed) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if any(_is_forbidden(letter) for letter in composed):
        raise ValueError(FORBIDDEN)
    if all(_is_unseen(letter) for letter in composed):
        raise ValueError(UNSEEN)
    return composed


def _is_forbidden(letter: str) -> bool:
    return letter in BIDI_CONTROLS or unicodedata.category(letter) in FORBIDDEN_CATEGORIES


def _is_unseen(letter: str) -> bool:
    return letter in UNSEEN_LETTERS or unicodedata.category(letter) in UNSEEN_CATEGORIES
