"""Encryption of all payloads that Temporal stores: AES-256-GCM, in the format of Temporal's own samples."""

import os
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from commerce.errors import MissingKey, SettingsError
from commerce.settings import Settings
from starter.connection.encryption_keys import KEY_ADVICE, KEYS_FILE_VARIABLE, KEYS_VARIABLE, read_keys

ENCODING = b"binary/encrypted"
NONCE_BYTES = 12


class Encryption(PayloadCodec):
    """Encrypts with its first key and decrypts with all of its keys; unencrypted payloads are read as they are."""

    def __init__(self, keys: Sequence[bytes], *, encrypts: bool = True) -> None:
        """Take keys of 32 bytes, newest first; the list may be empty if `encrypts` is false."""
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.encrypts = encrypts

    @classmethod
    def from_settings(cls, settings: Settings) -> "Encryption":
        """Create the codec from the settings. Raises SettingsError, which never contains a key."""
        keys, encrypts = read_keys(settings), settings.encryption == "on"
        if encrypts and not keys:
            raise SettingsError(f"{KEYS_VARIABLE} or {KEYS_FILE_VARIABLE}: there is no key; {KEY_ADVICE}")
        return cls(keys, encrypts=encrypts)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys, newest first."""
        return tuple(self._ciphers)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt with the newest key, if encryption is on."""
        return [self._encrypt(payload) for payload in payloads] if self.encrypts else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt the encrypted ones of these payloads. Raises MissingKey."""
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        newest, cipher = next(iter(self._ciphers.items()))
        nonce = os.urandom(NONCE_BYTES)
        return Payload(
            metadata={"encoding": ENCODING, "encryption-key-id": newest.encode()},
            data=nonce + cipher.encrypt(nonce, payload.SerializeToString(), None),
        )

    def _decrypt(self, payload: Payload) -> Payload:
        if (wanted := payload_key_id(payload)) is None:
            return payload
        if wanted not in self._ciphers:
            raise MissingKey(wanted)
        nonce, encrypted = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(self._ciphers[wanted].decrypt(nonce, encrypted, None))
        except (InvalidTag, ValueError, DecodeError):
            return payload  # corrupt: the payload converter then fails the run, instead of retrying forever


def key_id(key: bytes) -> str:
    """Return the id of a key, a hash of the key itself, so that a wrong key is never taken for the right one."""
    return sha256(key).hexdigest()[:16]


def payload_key_id(payload: Payload) -> str | None:
    """Return the id of the key that a payload is encrypted with, or None if it is not encrypted."""
    wanted = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
    return wanted if wanted and payload.metadata.get("encoding") == ENCODING else None
