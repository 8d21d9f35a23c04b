"""Passwords: hashed with argon2id in threads of their own; what is told of one never holds it (A3)."""

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
    MAX_LENGTH,
    MIN_LENGTH,
    NO_HASH,
    NO_TEXT,
    NOBODYS,
    THREADS,
    TOO_COSTLY,
    TOO_LONG,
    TOO_SHORT,
    check,
    checked_hash,
    needs_rehash,
    verify,
    verify_nothing,
)

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SALT, DIGEST = "c29tZXNhbHRzb21lc2FsdA", "A" * 43
PLAIN = f"$argon2id$v=19$m=65536,t=3,p=4${SALT}${DIGEST}"


async def test_a_password_fits_its_hash_and_no_other_does() -> None:  # (A3)
    made = await passwords.hash("correct horse")
    assert extract_parameters(made) == RFC_9106_LOW_MEMORY
    assert checked_hash(made) == made and not needs_rehash(made)
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
async def test_a_password_fits_whatever_keyboard_it_is_typed_on(password: str, typed: str) -> None:
    known = CHEAP.hash(check(password))
    assert await verify(password, known) and await verify(typed, known)
    assert not await verify(f"{typed[:4]}-{typed[5:]}", known)


async def test_any_password_can_be_compared_even_one_that_nobody_may_choose() -> None:
    known = CHEAP.hash("short")
    assert await verify("short", known)
    assert not await verify("", known)
    assert not await verify("\ud800" * 8, known)
    longest = CHEAP.hash("a" * passwords.LONGEST)
    assert await verify("a" * passwords.LONGEST, longest)
    assert not await verify("a" * passwords.LONGEST + "b", longest)


async def test_an_address_without_an_account_costs_what_an_account_costs() -> None:
    assert not needs_rehash(NOBODYS) and extract_parameters(NOBODYS) == RFC_9106_LOW_MEMORY
    await verify_nothing("correct horse")
    assert not await verify("correct horse", NOBODYS)


async def test_many_wait_in_line_for_a_few_threads_and_nobody_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, full, go = 0, 0, threading.Event(), threading.Event()
    one_by_one = threading.Lock()

    def slow(password: str, password_hash: str) -> bool:
        nonlocal at_work, most
        with one_by_one:
            at_work += 1
            most = max(most, at_work)
        if at_work == THREADS:
            full.set()
        go.wait()
        with one_by_one:
            at_work -= 1
        return password == "right"

    monkeypatch.setattr(passwords, "_fits", slow)
    callers = asyncio.gather(*(verify("right" if i % 2 else "wrong", PLAIN) for i in range(100)))
    await asyncio.to_thread(full.wait)
    go.set()
    assert sum(await callers) == 50
    assert most == THREADS


def test_hashes_of_another_cost_are_to_be_made_anew() -> None:
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
        ("\ud800" * 8, NO_TEXT),
    ],
)
async def test_nobody_may_choose(password: str, reason: str) -> None:  # (A3)
    for refuse in (check, passwords.hash):
        with pytest.raises(ValueError) as refusal:
            made = refuse(password)
            await made
        assert str(refusal.value) == reason


@given(st.text(st.characters(), max_size=2 * MAX_LENGTH))
def test_a_password_that_is_taken_is_taken_again_and_what_is_told_of_another_is_one_of_three(text: str) -> None:
    try:
        taken = check(text)
    except ValueError as error:
        assert type(error) is ValueError and str(error) in {TOO_SHORT, TOO_LONG, NO_TEXT}
    else:
        assert check(taken) == taken == unicodedata.normalize("NFKC", text)
        assert MIN_LENGTH <= len(taken) <= MAX_LENGTH


@pytest.mark.parametrize("profile", [RFC_9106_LOW_MEMORY, RFC_9106_HIGH_MEMORY], ids=["low", "high"])
def test_the_rfcs_own_profiles_are_taken(profile: object) -> None:
    cost = f"m={profile.memory_cost},t={profile.time_cost},p={profile.parallelism}"
    assert checked_hash(f"$argon2id$v=19${cost}${SALT}${DIGEST}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", NO_HASH),
        ("correct horse", NO_HASH),
        (f"{PLAIN}\n", NO_HASH),
        (f" {PLAIN}", NO_HASH),
        (PLAIN.replace("argon2id", "argon2i"), NO_HASH),
        (PLAIN.replace("v=19", "v=16"), NO_HASH),
        (PLAIN.replace("$v=19", ""), NO_HASH),
        (PLAIN.replace("m=65536,t=3", "t=3,m=65536"), NO_HASH),
        (PLAIN.replace("t=3", "t=0"), NO_HASH),
        (PLAIN.replace("t=3", "t=٣"), NO_HASH),
        (PLAIN.replace("65536", "065536"), NO_HASH),
        (PLAIN.replace("65536", "31"), NO_HASH),
        (PLAIN.replace(SALT, "c2FsdA"), NO_HASH),
        (PLAIN.replace(SALT, SALT[:-1]), NO_HASH),
        (PLAIN.replace(SALT, f"{SALT}=="), NO_HASH),
        (PLAIN.replace(SALT, f"{SALT[:-1]}B"), NO_HASH),  # bits too many
        (PLAIN.replace(DIGEST, "A" * 20), NO_HASH),
        (PLAIN.replace(DIGEST, "A" * 88), NO_HASH),
        (PLAIN.replace(DIGEST, ""), NO_HASH),
        (PLAIN.replace(DIGEST, f"{DIGEST[:-1]}-"), NO_HASH),
        (PLAIN + "A" * 1_000_000, NO_HASH),
        (PLAIN.replace("65536", "2097153"), TOO_COSTLY),
        (PLAIN.replace("65536", "9999999"), TOO_COSTLY),
        (PLAIN.replace("t=3", "t=65"), TOO_COSTLY),
        (PLAIN.replace("p=4", "p=65"), TOO_COSTLY),
        (PLAIN.replace("m=65536,t=3", "m=2097152,t=5"), TOO_COSTLY),
    ],
)
def test_no_account_may_be_opened_with_the_hash(value: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:
        checked_hash(value)
    assert str(refusal.value) == reason


@given(st.binary(min_size=8, max_size=16), st.integers(16, 64), st.integers(1, 4), st.integers(1, 3))
def test_whatever_argon2_makes_is_taken(salt: bytes, size: int, lanes: int, passes: int) -> None:
    hasher = PasswordHasher(time_cost=passes, memory_cost=8 * lanes, parallelism=lanes, hash_len=size)
    made = hasher.hash("correct horse", salt=salt)
    assert checked_hash(made) == made


def test_loading_the_module_starts_no_thread_and_loads_no_argon2() -> None:
    program = (
        "import sys, threading, commerce.passwords as p; p.checked_hash(p.NOBODYS)\n"
        "sys.exit(threading.active_count() - 1 + ('argon2' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
