"""Redacts personal data and secrets from all log records.

Fields with a sensitive name lose their value. In all other text, e-mail addresses, password hashes, passwords in URLs,
tokens and fields like `first_name='Ann'` are replaced. A person's name in a sentence cannot be recognized and stays.
"""

import re
from collections import deque
from collections.abc import Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

REDACTED = "[redacted]"
TOO_DEEP = "[too deep]"
MAX_DEPTH = 6  # levels of nested fields
MAX_TEXT = 10_000  # characters of a text that are logged, half from its start and half from its end
MARGIN = 2_000  # characters that are redacted beyond the cut, because a secret may lie across it
CACHED_NAMES = 1_024  # field names

OWN_FIELDS = frozenset({"timestamp", "level", "logger"})  # set by our own processors, so never sensitive
CREDENTIAL_NAME = r"""
    (?:pass_?word|passwd|passphrase)(?:_?hash)? | secret(?:_?key)? | token | authorization | credential | cookie
    | (?:api|private|encryption|signing)[_-]?key
"""
SENSITIVE_NAME = rf"""(?:
    {CREDENTIAL_NAME}
    | e[_-]?mail(?:[_-]?address)? | recipient | phone(?:_?number)?
    | (?:first|last|full|customer|shipping)[_-]?name | shipping_?(?:address[12]?|city|zip)
    )(?:es|s)?"""
SENSITIVE_FIELD = re.compile(rf"{SENSITIVE_NAME}\Z | \A(?:address[12]?|street|city|zip)\Z", re.VERBOSE | re.IGNORECASE)

# Characters that end the part before an @, unless quoted. % is a special case, because %40 is an @ in URLs.
LOCAL = r"\s@<>()\[\]{},;:=/"
MAYBE_SENSITIVE = re.compile(r"[@$=:%]|[Bb](?:earer|EARER)|whsec_")  # a text without a match needs no rule
# How our messages about a field continue after its name and a colon; anything else there is taken for a value.
NO_VALUE = r"(?:must|each|contains|is|are|there|none|no|the)\b|Input\ should|Field\ required|Value\ error"
# The rules, applied in this order: hints, one of which the text must contain (in lower case without - and _) for the
# rule to be tried, and the rule, whose first group is kept.
RULES = tuple(
    (hints.split(), re.compile(rule, re.VERBOSE | re.IGNORECASE))
    for hints, rule in (
        ("://", r"(://) [^\s/?\#@:]*:\S{0,300}(?=@)"),
        ("$argon2", r"() \$argon2[^\s\"'<>)\]}]*"),
        ("bearer", r"\b(bearer\s+) [^\s\"',;]+"),
        ("authorization", r"\b(authorization[\"']?\s?[:=]\s?[\"']?basic\s+) [^\s\"',;]+"),
        ("whsec", r"() \bwhsec_[\w+/=-]*"),  # secrets of webhooks, as Standard Webhooks define them
        ("detail:", r"\b(detail:) [^\n]+"),  # PostgreSQL repeats row values there
        (
            "passw passphrase secret token authorization credential cookie apikey privatekey encryptionkey signingkey"
            " email recipient phone firstname lastname fullname customername shipping",
            # A quoted value ends with the quote it starts with, however many times that was escaped.
            rf"""({SENSITIVE_NAME}(?:\\*["']\s?[:=]|\s?=)\s?)
            (?: [\[({{](?!redacted\])[^\])}}]*(?:[\])}}]|\Z)  # a list with everything in it
              | (?P<quote>\\*+["'])(?s:.*?)(?:(?<!\\)(?P=quote)|\Z)
              | (?:(?:bearer|basic)\s+)?(?:{re.escape(REDACTED)}|[^\s,;&)}}\]]+) )""",
        ),
        (
            "passw passphrase secret token authorization credential cookie apikey privatekey encryptionkey signingkey",
            # A header, or a line for people. The name stands alone: COMMERCE_API_TOKENS is followed by a message.
            rf"""((?<![\w])(?:{CREDENTIAL_NAME})(?:es|s)?:[ \t]*+(?:(?:bearer|basic)[ ]+)?) (?!{NO_VALUE}|//|\s|\Z)
            (?: (?P<quote>\\*+["'])(?s:.*?)(?:(?<!\\)(?P=quote)|\Z) | (?<=cookie:[ ])[^\n]+ | [^\n,;]+ )""",
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

Record = MutableMapping[str, Any]


def redact_record(_logger: Any, _method: str, record: Record) -> Record:
    """Return the log record with secrets redacted, as plain values; structlog's last processor before the renderer."""
    own = {name: record[name] for name in OWN_FIELDS & record.keys()}
    try:
        return _redact_fields(record, MAX_DEPTH) | own
    except Exception as error:  # noqa: BLE001 - such a record must neither be logged nor fail the caller
        return own | {"event": f"log record dropped, redaction failed: {type(error).__name__}"}


def redact_text(text: str) -> str:
    """Return the text with secrets replaced, and a long text without its middle."""
    if len(text) <= MAX_TEXT:
        return _apply_rules(text)
    half = MAX_TEXT // 2 + MARGIN
    start, end = _apply_rules(text[:half])[:-MARGIN], _apply_rules(text[-half:])[MARGIN:]
    return f"{start} … {len(text) - MAX_TEXT:,} characters left out … {end}"


def _apply_rules(text: str) -> str:
    if MAYBE_SENSITIVE.search(text):
        normalized = text.lower().replace("-", "").replace("_", "")
        for hints, rule in RULES:
            if any(hint in normalized for hint in hints):
                text = rule.sub(REPLACEMENT, text)
    return text


def _redact_fields(fields: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
    return {_redact_name(name): _redact_field(name, value, depth) for name, value in fields.items()}


def _redact_field(name: Any, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value  # email_sent: true
    return REDACTED if isinstance(name, str) and _is_sensitive(name) else _redact_value(value, depth)


def _redact_value(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, int | float):
        return value
    if depth == 0:
        return TOO_DEEP
    if isinstance(value, Mapping):
        return _redact_fields(value, depth - 1)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _redact_fields(value._asdict(), depth - 1)
    if isinstance(value, list | tuple | AbstractSet | deque):
        return [_redact_value(item, depth - 1) for item in value]
    return redact_text(repr(value))


def _redact_name(name: Any) -> Any:
    if name is None or isinstance(name, int | float):
        return name
    return redact_text(name if isinstance(name, str) else repr(name))


@lru_cache(CACHED_NAMES)
def _is_sensitive(name: str) -> bool:
    return SENSITIVE_FIELD.search(name) is not None
