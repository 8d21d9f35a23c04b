"""A decoder written from the published format of Temporal's samples alone, without any of our code."""

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec


class PublishedCodec(PayloadCodec):
    """Decrypts with one key; refuses unencrypted payloads."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise NotImplementedError("it only decodes")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypt(payload) for payload in payloads]

    def _decrypt(self, payload: Payload) -> Payload:
        assert payload.metadata["encoding"] == b"binary/encrypted"
        assert payload.metadata["encryption-key-id"].decode() == hashlib.sha256(self._key).hexdigest()[:16]
        return Payload.FromString(AESGCM(self._key).decrypt(payload.data[:12], payload.data[12:], None))
