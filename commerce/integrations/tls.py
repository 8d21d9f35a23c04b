"""The TLS context that all HTTP clients share: loading the certificate authorities takes 20 ms each time."""

import ssl
from functools import cache

import httpx


@cache
def tls_context() -> ssl.SSLContext:
    """Return a context that verifies servers by the authorities of certifi, or by those in SSL_CERT_FILE."""
    return httpx.create_ssl_context()
