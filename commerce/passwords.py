"""Hash and verify passwords with argon2id (A3), in dedicated threads so that the event loop is not blocked.

The NFKC form of a password is hashed (NIST SP 800-63B), so that different keyboards yield the same hash. Clients that
hash passwords themselves must do the same. argon2 is imported on first use, because every message module imports this
one.
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
# Characters as typed: NFKC joins at most four into one, in time quadratic in the length of a run of accents.
MAX_INPUT_LENGTH = 4 * MAX_LENGTH

THREADS = 2  # hashes at the same time, of 64 MiB each; further calls are queued
MAX_HASH_LENGTH = 256  # characters
MAX_MEMORY = 2 * 1024 * 1024  # KiB; RFC 9106's larger profile has 2 GiB and one pass
MAX_PASSES, MAX_LANES = 64, 64
MAX_WORK = 4 * MAX_MEMORY  # KiB times passes: takes seconds, not minutes
MIN_LANE_MEMORY = 8  # KiB (RFC 9106)
SALT_BYTES, DIGEST_BYTES = range(8, 65), range(16, 65)
HASH = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]?),p=([1-9][0-9]?)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
DUMMY_HASH = f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}"  # with our parameters; matches no known password

TOO_SHORT = f"must have at least {MIN_LENGTH} characters"
TOO_LONG = f"must not have more than {MAX_LENGTH} characters"
NOT_TEXT = "must not contain unpaired surrogates"
NOT_A_HASH = "must be an argon2id hash, like $argon2id$v=19$m=…,t=…,p=…$<salt>$<digest>"
TOO_EXPENSIVE = "must be an argon2id hash that can be verified within seconds and 2 GiB of memory"

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")  # starts threads when first used


def validate_password(password: str) -> str:
    """Return the NFKC form of a password if it has 8 to 128 characters; else raise ValueError, without the password."""
    if len(password) > MAX_INPUT_LENGTH:
        raise ValueError(TOO_LONG)
    normalised = unicodedata.normalize("NFKC", password)
    if len(normalised) < MIN_LENGTH:
        raise ValueError(TOO_SHORT)
    if len(normalised) > MAX_LENGTH:
        raise ValueError(TOO_LONG)
    if any(unicodedata.category(character) == "Cs" for character in normalised):
        raise ValueError(NOT_TEXT)
    return normalised


def validate_hash(value: str) -> str:
    """Return a hash if it is argon2id in PHC form and not too expensive; else raise ValueError, without the hash."""
    parts = HASH.fullmatch(value) if len(value) <= MAX_HASH_LENGTH else None
    if parts is None or _decoded_size(parts[4]) not in SALT_BYTES or _decoded_size(parts[5]) not in DIGEST_BYTES:
        raise ValueError(NOT_A_HASH)
    memory, passes, lanes = (int(number) for number in parts.group(1, 2, 3))
    if memory < MIN_LANE_MEMORY * lanes:
        raise ValueError(NOT_A_HASH)
    if memory > MAX_MEMORY or passes > MAX_PASSES or lanes > MAX_LANES or memory * passes > MAX_WORK:
        raise ValueError(TOO_EXPENSIVE)
    return value


async def hash(password: str) -> str:  # noqa: A001 - passwords.hash
    """Return the argon2id hash of a password in PHC form; raises ValueError as `validate_password` does."""
    normalised = validate_password(password)
    return await _in_pool(lambda: _hasher().hash(_encode(normalised)))


async def verify(password: str, password_hash: str) -> bool:
    """Return whether a password matches a hash; any text is accepted as a password.

    Raises ValueError as `validate_hash` does, and argon2's VerificationError when memory runs out.
    """
    valid_hash = validate_hash(password_hash)
    matches = await _in_pool(lambda: _matches(password[:MAX_INPUT_LENGTH], valid_hash))
    return matches and len(password) <= MAX_INPUT_LENGTH


async def verify_dummy(password: str) -> None:
    """Take as long as `verify`, for an address without an account: response times must not reveal which have one."""
    await verify(password, DUMMY_HASH)


def needs_rehash(password_hash: str) -> bool:
    """Return whether a hash has weaker parameters than ours; raises ValueError as `validate_hash` does."""
    return _work(validate_hash(password_hash)) < _work(DUMMY_HASH)


def _work(password_hash: str) -> int:
    parts = HASH.fullmatch(password_hash)
    assert parts is not None
    return int(parts[1]) * int(parts[2])


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher, profiles

    return PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY)


def _matches(password: str, password_hash: str) -> bool:
    from argon2.exceptions import VerifyMismatchError

    try:
        return _hasher().verify(password_hash, _encode(password))
    except VerifyMismatchError:
        return False


def _encode(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


async def _in_pool(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_pool, work)


def _decoded_size(text: str) -> int:
    """Return the number of bytes that this unpadded base64 decodes to; 0 if argon2 could not decode it."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return 0
    return len(data) if base64.b64encode(data).decode().rstrip("=") == text else 0
