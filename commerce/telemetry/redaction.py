"""Keeps what is personal or secret out of the logs, whoever wrote the line and wherever in it that stands.

Fields with a telling name lose their value; in all other text addresses, password hashes, passwords in URLs, tokens
and fields like `first_name='Ann'` are replaced. A person's name within a sentence looks like any other word: it stays.
"""

import re
from collections import deque
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

REDACTED = "[redacted]"
TOO_DEEP = "[too deep]"
MAX_DEPTH = 6  # of fields within fields
MAX_TEXT = 10_000  # characters that are left of a text, half from its beginning and half from its end
MARGIN = 2_000  # characters that are read beyond: something secret may lie across the cut
KNOWN_NAMES = 1_024  # names of fields remembered

OWN_FIELDS = frozenset({"timestamp", "level", "logger"})  # written by our own processors: nothing to look for
TELLING = r"""(?:
    (?:pass_?word|passwd|passphrase)(?:_?hash)? | secret(?:_?key)? | token | authorization | credential | cookie
    | (?:api|private|encryption|signing)[_-]?key
    | e[_-]?mail(?:[_-]?address)? | recipient | phone(?:_?number)?
    | (?:first|last|full|customer|shipping)[_-]?name | shipping_?(?:address[12]?|city|zip)
    )(?:es|s)?"""
TELLING_NAME = re.compile(rf"{TELLING}\Z | \A(?:address[12]?|street|city|zip)\Z", re.VERBOSE | re.IGNORECASE)

LOCAL = r"\s@<>()\[\]{},;:=/"  # what no part before an @ has, but in quotes; % is its own case: %40 is an @ in URLs
TRIGGERS = re.compile(r"[@$=:%]|[Bb](?:earer|EARER)")  # a text without any of them needs no rule
# Each after the other: what a text must hold for the rule to be worth its while, in small letters without - and _; and
# the rule, whose group stays.
RULES = tuple(
    (hints.split(), re.compile(rule, re.VERBOSE | re.IGNORECASE))
    for hints, rule in (
        ("://", r"(://) [^\s/?\#@:]*:\S{0,300}(?=@)"),
        ("$argon2", r"() \$argon2[^\s\"'<>)\]}]*"),
        ("bearer", r"\b(bearer\s+) [^\s\"',;]+"),
        ("authorization", r"\b(authorization[\"']?\s?[:=]\s?[\"']?basic\s+) [^\s\"',;]+"),
        ("detail:", r"\b(detail:) [^\n]+"),  # PostgreSQL repeats values there
        (
            "passw passphrase secret token authorization credential cookie apikey privatekey encryptionkey signingkey"
            " email recipient phone firstname lastname fullname customername shipping",
            # A value in quotes ends with what it began with, however often that was escaped on its way into the line.
            rf"""({TELLING}(?:\\*["']\s?[:=]|\s?=)\s?)
            (?: (?P<quote>\\*+["'])(?s:.*?)(?:(?<!\\)(?P=quote)|\Z)
              | (?:(?:bearer|basic)\s+)?(?:{re.escape(REDACTED)}|[^\s,;&)}}\]]+) )""",
        ),
        (
            "@ %40",
            rf"""() (?: (?:(?<![^{LOCAL}])|(?<=%40))(?!@|%40)[^{LOCAL}%]*+(?:%(?!40)[^{LOCAL}%]*+)*+(?:@|%40)
                      | (?<!\[redacted)[<>()\[\]{{}},;:=/]@ )
            [^\s@<>()\]{{}},;:"'=/\\?&|]*+""",
        ),
    )
)
REPLACEMENT = rf"\1{REDACTED}"

Event = MutableMapping[str, Any]


def redact_record(_logger: Any, _method: str, event: Event) -> Event:
    """Return what may be shown of a log line, as plain values: structlog's last processor before the renderer."""
    own = {name: event[name] for name in OWN_FIELDS & event.keys()}
    try:
        return _fields(event, MAX_DEPTH) | own
    except Exception as error:  # noqa: BLE001 - a line that cannot be read must neither pass nor stop who wrote it
        return own | {"event": f"a line that cannot be redacted was left out: {type(error).__name__}"}


def redact_text(text: str) -> str:
    """Return this text with what is secret replaced, and without its middle when it is long."""
    if len(text) <= MAX_TEXT:
        return _replaced(text)
    read = MAX_TEXT // 2 + MARGIN
    begin, end = _replaced(text[:read])[:-MARGIN], _replaced(text[-read:])[MARGIN:]
    return f"{begin} … {len(text) - MAX_TEXT:,} characters left out … {end}"


def _replaced(text: str) -> str:
    if TRIGGERS.search(text):
        small = text.lower().replace("-", "").replace("_", "")
        for hints, rule in RULES:
            if any(hint in small for hint in hints):
                text = rule.sub(REPLACEMENT, text)
    return text


def _fields(fields: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    return {_name(name): _field(name, value, depth) for name, value in fields.items()}


def _field(name: Any, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value  # email_sent: true
    return REDACTED if isinstance(name, str) and _is_telling(name) else _value(value, depth)


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, int | float):
        return value
    if depth == 0:
        return TOO_DEEP
    if isinstance(value, Mapping):
        return _fields(value, depth - 1)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _fields(value._asdict(), depth - 1)
    if isinstance(value, list | tuple | AbstractSet | deque):
        return [_value(item, depth - 1) for item in value]
    return redact_text(repr(value))


def _name(name: Any) -> Any:
    if name is None or isinstance(name, int | float):
        return name
    return redact_text(name if isinstance(name, str) else repr(name))


@lru_cache(KNOWN_NAMES)
def _is_telling(name: str) -> bool:
    return TELLING_NAME.search(name) is not None
