"""Passwords are hashed with argon2id in dedicated threads, and never appear in errors (A3)."""

import asyncio
import subprocess
import sys
import threading
import unicodedata

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_HIGH_MEMORY, RFC_9106_LOW_MEMORY
from hypothesis import given
from hypothesis import strategies as st

from commerce import passwords
from commerce.passwords import (
    DUMMY_HASH,
    MAX_LENGTH,
    MIN_LENGTH,
    NOT_A_HASH,
    NOT_TEXT,
    THREADS,
    TOO_EXPENSIVE,
    TOO_LONG,
    TOO_SHORT,
    needs_rehash,
    validate_hash,
    validate_password,
    verify,
    verify_dummy,
)

pytestmark = pytest.mark.usefixtures("production_hashes")

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SALT, DIGEST = "c29tZXNhbHRzb21lc2FsdA", "A" * 43
PLAIN = f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}"


async def test_only_the_right_password_matches_a_hash() -> None:  # (A3)
    made = await passwords.hash("correct horse")
    assert extract_parameters(made) == RFC_9106_LOW_MEMORY
    assert validate_hash(made) == made and not needs_rehash(made)
    assert await verify("correct horse", made)
    assert not await verify("Correct horse", made)


@pytest.mark.parametrize(
    ("password", "typed"),
    [
        ("passwörd", "passwo\u0308rd"),
        ("office 12", "oﬃce 12"),
        ("abcdefgh", "ａｂｃｄｅｆｇｈ"),
        ("nul\0nul\0", "nul\0nul\0"),
        ("🐎🔋🐎🔋🐎🔋🐎🔋", "🐎🔋🐎🔋🐎🔋🐎🔋"),
    ],
)
async def test_equivalent_unicode_forms_of_a_password_match(password: str, typed: str) -> None:
    stored = CHEAP.hash(validate_password(password))
    assert await verify(password, stored) and await verify(typed, stored)
    assert not await verify(f"{typed[:4]}-{typed[5:]}", stored)


async def test_passwords_that_are_invalid_for_new_accounts_can_still_be_verified() -> None:
    stored = CHEAP.hash("short")
    assert await verify("short", stored)
    assert not await verify("", stored)
    assert not await verify("\ud800" * 8, stored)
    longest = CHEAP.hash("a" * passwords.MAX_INPUT_LENGTH)
    assert await verify("a" * passwords.MAX_INPUT_LENGTH, longest)
    assert not await verify("a" * passwords.MAX_INPUT_LENGTH + "b", longest)


async def test_an_unknown_address_takes_as_long_as_a_known_one() -> None:
    assert not needs_rehash(DUMMY_HASH) and extract_parameters(DUMMY_HASH) == RFC_9106_LOW_MEMORY
    await verify_dummy("correct horse")
    assert not await verify("correct horse", DUMMY_HASH)


async def test_verifications_queue_for_a_few_threads_and_do_not_block_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    active, most, full, go = 0, 0, threading.Event(), threading.Event()
    lock = threading.Lock()

    def slow(password: str, password_hash: str) -> bool:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        if active == THREADS:
            full.set()
        go.wait()
        with lock:
            active -= 1
        return password == "right"

    monkeypatch.setattr(passwords, "_matches", slow)
    callers = asyncio.gather(*(verify("right" if i % 2 else "wrong", PLAIN) for i in range(100)))
    await asyncio.to_thread(full.wait)
    go.set()
    assert sum(await callers) == 50
    assert most == THREADS


def test_a_hash_with_weaker_parameters_needs_a_rehash() -> None:
    assert needs_rehash(CHEAP.hash("correct horse"))
    with pytest.raises(ValueError, match="must be an argon2id hash"):
        needs_rehash("$2b$12$abc")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", TOO_SHORT),
        ("1234567", TOO_SHORT),
        ("e\u0301" * 7, TOO_SHORT),
        ("a" * 129, TOO_LONG),
        ("ﬃ" * 43, TOO_LONG),
        ("\u0316\u0301" * 1_000_000, TOO_LONG),
        ("\ud800" * 8, NOT_TEXT),
    ],
)
async def test_invalid_passwords_are_refused(password: str, reason: str) -> None:  # (A3)
    for function in (validate_password, passwords.hash):
        with pytest.raises(ValueError) as raised:
            result = function(password)
            await result
        assert str(raised.value) == reason


@given(st.text(st.characters(), max_size=2 * MAX_LENGTH))
def test_validation_is_idempotent_and_has_three_error_messages(text: str) -> None:
    try:
        valid = validate_password(text)
    except ValueError as error:
        assert type(error) is ValueError and str(error) in {TOO_SHORT, TOO_LONG, NOT_TEXT}
    else:
        assert validate_password(valid) == valid == unicodedata.normalize("NFKC", text)
        assert MIN_LENGTH <= len(valid) <= MAX_LENGTH


@pytest.mark.parametrize("profile", [RFC_9106_LOW_MEMORY, RFC_9106_HIGH_MEMORY], ids=["low", "high"])
def test_the_profiles_of_the_rfc_are_valid(profile: object) -> None:
    cost = f"m={profile.memory_cost},t={profile.time_cost},p={profile.parallelism}"
    assert validate_hash(f"$argon2id$v=19${cost}${SALT}${DIGEST}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", NOT_A_HASH),
        ("correct horse", NOT_A_HASH),
        (f"{PLAIN}\n", NOT_A_HASH),
        (f" {PLAIN}", NOT_A_HASH),
        (PLAIN.replace("argon2id", "argon2i"), NOT_A_HASH),
        (PLAIN.replace("v=19", "v=16"), NOT_A_HASH),
        (PLAIN.replace("$v=19", ""), NOT_A_HASH),
        (PLAIN.replace("m=65536,t=3", "t=3,m=65536"), NOT_A_HASH),
        (PLAIN.replace("t=3", "t=0"), NOT_A_HASH),
        (PLAIN.replace("t=3", "t=٣"), NOT_A_HASH),
        (PLAIN.replace("65536", "065536"), NOT_A_HASH),
        (PLAIN.replace("65536", "31"), NOT_A_HASH),
        (PLAIN.replace(SALT, "c2FsdA"), NOT_A_HASH),
        (PLAIN.replace(SALT, SALT[:-1]), NOT_A_HASH),
        (PLAIN.replace(SALT, f"{SALT}=="), NOT_A_HASH),
        (PLAIN.replace(SALT, f"{SALT[:-1]}B"), NOT_A_HASH),  # surplus bits
        (PLAIN.replace(DIGEST, "A" * 20), NOT_A_HASH),
        (PLAIN.replace(DIGEST, "A" * 88), NOT_A_HASH),
        (PLAIN.replace(DIGEST, ""), NOT_A_HASH),
        (PLAIN.replace(DIGEST, f"{DIGEST[:-1]}-"), NOT_A_HASH),
        (PLAIN + "A" * 1_000_000, NOT_A_HASH),
        (PLAIN.replace("65536", "2097153"), TOO_EXPENSIVE),
        (PLAIN.replace("65536", "9999999"), TOO_EXPENSIVE),
        (PLAIN.replace("t=3", "t=65"), TOO_EXPENSIVE),
        (PLAIN.replace("p=4", "p=65"), TOO_EXPENSIVE),
        (PLAIN.replace("m=65536,t=3", "m=2097152,t=5"), TOO_EXPENSIVE),
    ],
)
def test_invalid_hashes_are_refused(value: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:
        validate_hash(value)
    assert str(raised.value) == reason


@given(st.binary(min_size=8, max_size=16), st.integers(16, 64), st.integers(1, 4), st.integers(1, 3))
def test_every_hash_that_argon2_creates_is_valid(salt: bytes, size: int, lanes: int, passes: int) -> None:
    hasher = PasswordHasher(time_cost=passes, memory_cost=8 * lanes, parallelism=lanes, hash_len=size)
    made = hasher.hash("correct horse", salt=salt)
    assert validate_hash(made) == made


def test_importing_the_module_starts_no_thread_and_does_not_import_argon2() -> None:
    program = (
        "import sys, threading, commerce.passwords as p; p.validate_hash(p.DUMMY_HASH)\n"
        "sys.exit(threading.active_count() - 1 + ('argon2' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
