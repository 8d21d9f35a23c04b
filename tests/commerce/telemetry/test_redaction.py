"""No log record shows personal data or secrets, whichever library writes it and in either format."""

import json
import logging
import re
import sys
from collections import deque, namedtuple
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from commerce.settings import Settings
from commerce.telemetry import logs
from commerce.telemetry.redaction import MAX_DEPTH, MAX_TEXT, OWN_FIELDS, REDACTED, TOO_DEEP, redact_record, redact_text

ADDRESS = "ann.o'brien+shop@shop.example"
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$mnV4ZGVyYmFyZ2FpbmRpZ2VzdGRpZ2VzdA"
URL = "postgresql://commerce:p@ss/w:rd@db.example:5432/shop"
TOKEN = "Bearer eyJhbGci.eyJzdWIi-_.c2ln"
SECRETS = (ADDRESS, "brien", HASH, "c29tZXNhbHRz", "p@ss", "w:rd", "eyJ", "hunter2")
TEXT = f"{ADDRESS} has {HASH} at {URL} with {TOKEN}, password='hunter2 hunter2'"


class Person(BaseModel):
    email: str
    first_name: str
    units: int


Pair = namedtuple("Pair", "units phone")


@pytest.fixture(params=["json", "console"])
def logged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """The logs of a program that has configured them."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(Settings(log_format=request.param))
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def redacted(**fields: Any) -> dict[str, Any]:
    return dict(redact_record(None, "info", {"event": "message", **fields}))


def fail() -> None:
    raise ValueError(TEXT)


def test_our_log_records_are_redacted_with_their_exceptions(logged: StringIO) -> None:
    log = structlog.stdlib.get_logger("shop")
    try:
        fail()
    except ValueError:
        log.exception(TEXT, recipient=ADDRESS, nested={"list": [TEXT]}, order_id="1001")
    line = logged.getvalue()
    assert "1001" in line and "Traceback" in line and "in fail" in line and REDACTED in line
    assert not [secret for secret in SECRETS if secret in line]


def test_log_records_of_libraries_are_redacted_with_their_exceptions_and_extras(logged: StringIO) -> None:
    try:
        fail()
    except ValueError as error:
        logging.getLogger("library").warning("of %s: %r", ADDRESS, error, exc_info=True, extra={"api_key": "hunter2"})
    line = logged.getvalue()
    assert "of " in line and "Traceback" in line and "in fail" in line and REDACTED in line
    assert not [secret for secret in SECRETS if secret in line]


def test_a_record_that_cannot_be_formatted_is_reported_without_its_values(logged: StringIO) -> None:
    record = logging.makeLogRecord({"name": "library", "msg": "of %d", "args": (ADDRESS,)})
    (ours,) = (h for h in logging.getLogger().handlers if getattr(h, "stream", None) is logged)
    ours.handle(record)
    assert logged.getvalue() == "a log record of library could not be formatted: TypeError\n"


@pytest.mark.parametrize(
    "name",
    (
        *("password", "Password", "smtp_password", "passwordHash", "password_hash", "X-Api-Key", "authorization"),
        *("email", "customer_email", "recipients", "first_name", "lastName", "phone", "address", "shipping_city"),
    ),
)
def test_fields_with_a_sensitive_name_lose_their_value(name: str) -> None:
    assert redacted(**{name: "Ann"})[name] == REDACTED
    assert redacted(deep=[{"deeper": {name: 12}}])["deep"] == [{"deeper": {name: REDACTED}}]


def test_harmless_fields_stay_unchanged() -> None:
    line = {
        "event": "step done",
        "logger": "commerce.steps",
        "level": "info",
        "timestamp": "2026-11-21T21:32:16.1Z",
        "workflow_id": "order-processing-1001",
        "attempt": 2,
        "milliseconds": 1.5,
        "error": None,
        "name": "sync",
        "key": "order-shipped/1001",
        "has_email": True,
        "url": "http://127.0.0.1:9000/health",
        "tokens_left": 3,
        "reason": "Invalid input: email: must be an e-mail address; password: must have at least 8 characters",
        "list": [1, "a = b", {"status": "sent"}],
    }
    assert redacted(**line) == line


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"sent to {ADDRESS}.", "sent to [redacted]"),
        (f"<{ADDRESS}>, mailto:{ADDRESS}", "<[redacted]>, mailto:[redacted]"),
        ("jö@ünï.example, ann@localhost, ann@[::1]", "[redacted], [redacted], [redacted]::1]"),
        ("/customers?of=ann%40shop.example&page=2", "/customers?of=[redacted]&page=2"),
        ('"ann"@shop.example', REDACTED),
        (f"'{HASH}' is stored", "'[redacted]' is stored"),
        (f"{URL} is unreachable", "postgresql://[redacted]@db.example:5432/shop is unreachable"),
        (f"Authorization: {TOKEN}", "Authorization: Bearer [redacted]"),
        ("{'Authorization': 'Basic dXNlcjpw'}", "{'Authorization': [redacted]}"),
        ('{"password": "hunter2", "id": 1}', '{"password": [redacted], "id": 1}'),
        ("/?token=hunter2&page=2", "/?token=[redacted]&page=2"),
        ("X-Api-Key: hunter2", "X-Api-Key: [redacted]"),
        ("x-api-key:hunter2, accept: json", "x-api-key:[redacted], accept: json"),
        ("password: hunter2 hunter2; user: 7", "password: [redacted]; user: 7"),
        ("Secret: 'hunter2, 2'\nend", "Secret: [redacted]\nend"),
        ("Cookie: a=hunter2; b=hunter2\nHost: x", "Cookie: [redacted]\nHost: x"),
        ("Set-Cookie: sid=hunter2; Path=/", "Set-Cookie: [redacted]"),
        ("added whsec_aHVudGVy+/Mg== today", "added [redacted] today"),
        ("tokens=['hunter2', 'hunter2'] end", "tokens=[redacted] end"),
        ('{"secrets": ["hunter2", "hunter2"], "id": 1}', '{"secrets": [redacted], "id": 1}'),
        ("api_keys=('hunter2', 'hunter2'), page=2", "api_keys=[redacted], page=2"),
        ("tokens={'a': 'hunter2', 'b': 'hunter2'}", "tokens=[redacted]"),
        ("COMMERCE_API_TOKENS: each must have at least 16 characters",) * 2,
        ("COMMERCE_CARRIER_API_KEY: some message",) * 2,
        ("token: none is left, secret://vault",) * 2,
        ("duplicate\nDETAIL:  Key (name)=(Ann) exists.\nend", "duplicate\nDETAIL:[redacted]\nend"),
    ],
)
def test_secrets_in_a_text_are_replaced(text: str, rest: str) -> None:
    assert redact_text(text) == rest
    assert redact_text(rest) == rest


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_quoted_value_is_found_however_often_it_is_escaped(times: int) -> None:
    text = {"first_name": "Zephyrina", "last_name": 'Quacken"bush'}
    quoted: Any = text
    for _ in range(times):
        quoted = json.dumps(quoted)
    assert "Zephyrina" in quoted
    assert not re.search("Zephyrina|Quacken|bush", redact_text(quoted))


@given(
    st.emails(),
    st.text(),
    st.sampled_from(["", " ", "'", '"', "(", "<", "=", ":", ",", "/", "\n", "é", "%", "]", "%40", "@"]),
)
def test_no_address_stays_anywhere_in_a_text(address: str, around: str, joint: str) -> None:
    domain = address.rpartition("@")[2]
    for text in (address, f"{joint}{address}{joint}", f"{around}{joint}{address}{joint}{around}"):
        assert address not in redact_text(text)
        assert f"@{domain}" not in redact_text(text)
        line = redacted(event=text, names={text: text}, many=[ValueError(text)])
        assert address not in json.dumps(line, ensure_ascii=False)


@given(st.recursive(st.text() | st.integers() | st.none(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_value_can_be_redacted_and_serialized(value: Any) -> None:
    json.dumps(redacted(value=value))
    assert redact_record(None, "info", redacted(value=value)) == redacted(value=value)


def test_objects_become_their_redacted_repr() -> None:
    person = Person(email=ADDRESS, first_name="Ann", units=3)
    assert redacted(person=person)["person"] == "Person(email=[redacted], first_name=[redacted], units=3)"
    assert redacted(error=ValueError(ADDRESS), raw=b"ann@shop.example") == {
        "event": "message",
        "error": 'ValueError([redacted]")',
        "raw": "[redacted]'",
    }
    assert redacted(pair=Pair(2, "0123"))["pair"] == {"units": 2, "phone": REDACTED}
    assert redacted(bag=(deque([ADDRESS]), {ADDRESS}))["bag"] == [[REDACTED], [REDACTED]]
    assert redacted(odd={(ADDRESS,): 1, 2: 3})["odd"] == {'([redacted]",)': 1, 2: 3}


def test_nesting_is_limited() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert str(redacted(endless=endless)["endless"]).count("[") == MAX_DEPTH + TOO_DEEP.count("[")


def test_a_long_text_loses_its_middle_and_shows_no_secret_at_the_cut() -> None:
    for place in range(MAX_TEXT // 2 - len(TEXT), MAX_TEXT // 2 + 1):
        long = redact_text(" " * place + TEXT + "." * MAX_TEXT + TEXT + " " * place)
        assert len(long) < MAX_TEXT + 100
        assert not [secret for secret in SECRETS if secret in long]
    assert redact_text("a" * MAX_TEXT) == "a" * MAX_TEXT
    assert redact_text("a" * 5_000 + "b" * 2_345 + "c" * 5_000) == (
        "a" * 5_000 + " … 2,345 characters left out … " + "c" * 5_000
    )


def test_a_record_that_cannot_be_redacted_is_dropped_without_raising() -> None:
    class Unreadable:
        def __repr__(self) -> str:
            raise RuntimeError(ADDRESS)

    line = dict.fromkeys(OWN_FIELDS, "ours") | {"event": ADDRESS, "value": Unreadable()}
    left = "log record dropped, redaction failed: RuntimeError"
    assert redact_record(None, "info", line) == dict.fromkeys(OWN_FIELDS, "ours") | {"event": left}


def test_a_terminal_obeys_nothing_in_the_log(logged: StringIO) -> None:
    hostile = "\x1b]0;title\x07\x1b[2J\r\n2026-01-01 [info] forged \u202e"
    logging.getLogger("library").warning("path %s", hostile, extra={"path": hostile, hostile: 1, "items": [hostile]})
    structlog.stdlib.get_logger("commerce").warning(hostile, path=hostile)
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("library").exception("failed\n")
    text = logged.getvalue()
    assert not set("\x1b\x07\r\u202e") & set(text)
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01")] or "Traceback" in text
    assert text.count("forged") >= 6
