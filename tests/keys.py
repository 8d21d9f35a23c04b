"""Encryption keys for tests, so that payloads are encrypted as in a real shop."""

from commerce.settings import load_settings
from starter.connection.encryption import Encryption

KEY = "dGVzdHMgcmVhZCBhcyBzZW50ZW5jZXMsIG5vdCBrZXk="  # 32 bytes, not secret
OTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="


def encryption_env(*newest_first: str) -> dict[str, str]:
    """Return the environment variables with these keys."""
    return {"COMMERCE_ENCRYPTION_KEYS": ",".join(newest_first)}


ENCRYPTION_ENV = encryption_env(KEY)


def codec(*newest_first: str) -> Encryption:
    """Return the codec with these keys, by default with KEY."""
    return Encryption.from_settings(load_settings(encryption_env(*newest_first or [KEY])))
