"""The keys that the tests encrypt with, so that they run as a shop does."""

from commerce.settings import load_settings
from starter.connection.encryption import Encryption

KEY = "dGVzdHMgcmVhZCBhcyBzZW50ZW5jZXMsIG5vdCBrZXk="  # 32 bytes that are no secret
OTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="


def encryption_env(*newest_first: str) -> dict[str, str]:
    """Return the environment that brings these keys."""
    return {"COMMERCE_ENCRYPTION_KEYS": ",".join(newest_first)}


ENCRYPTION_ENV = encryption_env(KEY)


def codec(*newest_first: str) -> Encryption:
    """Return the codec of these keys, of the usual one if there are none."""
    return Encryption.from_settings(load_settings(encryption_env(*newest_first or [KEY])))
