"""Check the signatures of Shopify and WooCommerce: base64 of the HMAC-SHA256 of the raw body."""

import base64
import hmac
from collections.abc import Sequence


def sign(body: bytes, secret: str) -> str:
    """Return the signature of a body as the platforms send it."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def is_signed(body: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Return whether one of these secrets has signed the body; the duration does not reveal how nearly."""
    presented = signature.strip().encode()
    return sum(hmac.compare_digest(presented, sign(body, secret).encode()) for secret in secrets) > 0
