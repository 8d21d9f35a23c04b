"""The numbers of docs/security.md are those of the code, and the tests that it cites exist."""

import re

import pytest
from argon2.profiles import RFC_9106_LOW_MEMORY

from commerce import passwords
from commerce.imports.csv_rows import MAX_EMPTY_ROWS, MAX_ROW
from commerce.integrations.capped_http import MAX_BYTES
from commerce.integrations.warehouse import MAX_PAGE_BYTES
from commerce.settings import MIN_TOKEN_LENGTH
from starter.api.admission import MAX_WAITING
from starter.api.connections import (
    BODY_SECONDS,
    HEAD_SECONDS,
    LOG_INTERVAL,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    MAX_WIRE_BYTES,
    STALL_SECONDS,
)
from starter.api.limits import MAX_BODY_BYTES, MAX_SIGNED_MEBIBYTES
from tests.documents import PAGES
from tests.paths import ROOT

PAGE = next(page for page in PAGES if page.stem == "security")
TEXT = " ".join(PAGE.read_text().split())
KIB, MIB = 1024, 1024**2
COUNTS = {2: "Two", 3: "three", 2_000_000: "two million"}
CLAIMS = [
    f"{RFC_9106_LOW_MEMORY.memory_cost // KIB} MiB and {COUNTS[RFC_9106_LOW_MEMORY.time_cost]} passes",
    f"Tokens have at least {MIN_TOKEN_LENGTH} characters",
    f"{COUNTS[passwords.THREADS]} hashes are computed at a time and {MAX_WAITING} registrations wait",
    f"headers must arrive within {HEAD_SECONDS:.0f} seconds",
    f"its body within {BODY_SECONDS:.0f} seconds",
    f"accept a response within {STALL_SECONDS:.0f} seconds",
    f"logged at most once every {LOG_INTERVAL:.0f} seconds",
    f"Headers above {MAX_HEAD_BYTES // KIB} KiB",
    f"bodies that take {MAX_WIRE_BYTES // MIB} MiB with their chunk sizes",
    f"more than {MAX_PIPELINED} pipelined requests",
    f"Bodies above {MAX_BODY_BYTES // MIB} MiB are refused",
    f"those of a shop's webhooks above {MAX_SIGNED_MEBIBYTES} MiB",
    f"more than {MAX_ROW:,} characters or more than {COUNTS[MAX_EMPTY_ROWS]} empty rows",
    f"Responses of the carrier are read up to {MAX_BYTES // MIB} MiB",
    f"those of the warehouse up to {MAX_PAGE_BYTES // MIB} MiB",
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_number_is_that_of_the_code(claim: str) -> None:
    assert claim in TEXT


def test_cited_tests_and_modules_exist() -> None:
    cited = re.findall(r"`((?:tests|commerce|starter|deploy)/[\w/.-]+)`", TEXT)
    assert len(cited) > 20
    assert [path for path in cited if not (ROOT / path).exists()] == []
