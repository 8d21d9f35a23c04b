"""Turn what a person types into a full text query."""

import re

MIN_PREFIX = 3  # ASCII letters; shorter ones are the start of too many words
NOT_SPACE = re.compile(r"\S+")


def has_number(text: str) -> bool:
    """Return whether a text has a digit, as the number of an order has. Few orders have such a word."""
    return any(letter.isdigit() for letter in text)


def search_query(text: str) -> str:
    """Return the words as PostgreSQL's `tsquery`: all must be found.

    Words are also found as the start of others, unless there is a number among them: then they are found as they are.
    """
    numbered = has_number(text)
    return " & ".join(
        f"{_quoted(word)}{':*' if not numbered and _may_be_start(word) else ''}" for word in NOT_SPACE.findall(text)
    )


def _may_be_start(word: str) -> bool:
    return len(word) >= MIN_PREFIX or not word.isascii()


def _quoted(word: str) -> str:
    doubled = word.lower().replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"
