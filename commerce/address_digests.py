"""Keyed digests that stand for e-mail addresses where the addresses themselves must not be (A7, A8).

They are in ids of processes, and in the list of forgotten addresses. Without the key, nobody can find out by trying
which address a digest stands for.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

DIGITS = 32  # hexadecimal digits of a digest

Purpose = Literal["process-id", "forgotten"]  # digests of one address for different purposes cannot be compared


class AddressDigests:
    """Makes digests. `keys`: the first one makes new digests, those of all are known."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = [key.encode() for key in keys]

    @property
    def has_key(self) -> bool:
        """Whether there is a key."""
        return bool(self._keys)

    def all(self, purpose: Purpose, address: str) -> list[str]:
        """Return the digests of a normalised address under each key, newest key first; without a key there are none."""
        content = f"{purpose}/1:{address}".encode()
        return [hmac.digest(key, content, sha256).hex()[:DIGITS] for key in self._keys]

    def process_ids(self, prefix: str, address: str) -> list[str]:
        """Return the ids that a process of a normalised address may have: the first one is that of a new process.

        The last one has a digest without a key, as all had before there was one.
        """
        plain = sha256(address.encode()).hexdigest()[:DIGITS]
        return [f"{prefix}{digest}" for digest in (*self.all("process-id", address), plain)]


NO_DIGESTS = AddressDigests()
