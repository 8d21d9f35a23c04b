"""Passwords: argon2id hashes (A3), made and compared in a few threads of their own, so that nobody waits for them.

Of a password the NFKC form is hashed (NIST SP 800-63B), so that it fits whatever keyboard it is typed on; who makes
hashes elsewhere does the same. This module is loaded wherever messages are: argon2 is loaded when it is first needed.
"""

import asyncio
import base64
import binascii
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

MIN_LENGTH, MAX_LENGTH = 8, 128  # characters of a password's NFKC form
LONGEST = 4 * MAX_LENGTH  # before that: NFKC makes one of four at most, and takes time quadratic in accents in a row

THREADS = 2  # hashes at once, of 64 MiB each; who comes later waits in line
MAX_HASH_LENGTH = 256  # characters
MAX_MEMORY, MAX_PASSES, MAX_LANES = 2 * 1024 * 1024, 64, 64  # KiB; RFC 9106's larger profile has 2 GiB and one pass
MAX_WORK = 4 * MAX_MEMORY  # KiB times passes: seconds, not minutes
MIN_LANE = 8  # KiB of memory per lane, by RFC 9106
SALT, DIGEST = range(8, 65), range(16, 65)  # bytes
HASH = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]?),p=([1-9][0-9]?)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
NOBODYS = f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}"  # of our own cost; no password is known to fit

TOO_SHORT = f"must have at least {MIN_LENGTH} characters"
TOO_LONG = f"must not have more than {MAX_LENGTH} characters"
NO_TEXT = "must not hold halves of characters (surrogates)"
NO_HASH = "must be an argon2id hash, like $argon2id$v=19$m=65536,t=3,p=4$<salt>$<digest>"
TOO_COSTLY = "must be an argon2id hash that can be compared within seconds and 2 GiB of memory"

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")  # starts threads when first used


def check(password: str) -> str:
    """Return the NFKC form of this password; raises ValueError unless it has 8 to 128 characters, without its text."""
    if len(password) > LONGEST:
        raise ValueError(TOO_LONG)
    composed = unicodedata.normalize("NFKC", password)
    if len(composed) < MIN_LENGTH:
        raise ValueError(TOO_SHORT)
    if len(composed) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if any(unicodedata.category(letter) == "Cs" for letter in composed):
        raise ValueError(NO_TEXT)
    return composed


def checked_hash(value: str) -> str:
    """Return this argon2id hash in PHC form; raises ValueError, without its text, for another or a too costly one."""
    parts = HASH.fullmatch(value) if len(value) <= MAX_HASH_LENGTH else None
    if parts is None or _size(parts[4]) not in SALT or _size(parts[5]) not in DIGEST:
        raise ValueError(NO_HASH)
    memory, passes, lanes = (int(number) for number in parts.group(1, 2, 3))
    if memory < MIN_LANE * lanes:
        raise ValueError(NO_HASH)
    if memory > MAX_MEMORY or passes > MAX_PASSES or lanes > MAX_LANES or memory * passes > MAX_WORK:
        raise ValueError(TOO_COSTLY)
    return value


async def hash(password: str) -> str:  # noqa: A001 - passwords.hash
    """Return the argon2id hash of a password, in PHC form; raises ValueError when `check` does."""
    composed = check(password)
    return await _in_pool(lambda: _hasher().hash(_secret(composed)))


async def verify(password: str, password_hash: str) -> bool:
    """Tell whether a hash is of this password, be that as short or odd as it may.

    Raises ValueError for a hash that `checked_hash` refuses, and argon2's VerificationError when memory is short.
    """
    known = checked_hash(password_hash)
    fits = await _in_pool(lambda: _fits(password[:LONGEST], known))
    return fits and len(password) <= LONGEST


async def verify_nothing(password: str) -> None:
    """Take as long as `verify` does, for an address without an account: time must not tell which have one."""
    await verify(password, NOBODYS)


def needs_rehash(password_hash: str) -> bool:
    """Tell whether a hash was made at a lower cost than ours; raises ValueError when `checked_hash` does."""
    return _work(checked_hash(password_hash)) < _work(NOBODYS)


def _work(password_hash: str) -> int:
    parts = HASH.fullmatch(password_hash)
    assert parts is not None
    return int(parts[1]) * int(parts[2])


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher, profiles

    return PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY)


def _fits(password: str, password_hash: str) -> bool:
    from argon2.exceptions import VerifyMismatchError

    try:
        return _hasher().verify(password_hash, _secret(password))
    except VerifyMismatchError:
        return False


def _secret(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


async def _in_pool(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_pool, work)


def _size(text: str) -> int:
    """Return how many bytes this unpadded base64 stands for; 0 when argon2 could not read it."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return 0
    return len(data) if base64.b64encode(data).decode().rstrip("=") == text else 0
