"""Recognize requests that a browser sends for a page of another site, which could act with this machine's access.

Browsers send two headers that a page cannot change: `Sec-Fetch-Site`, and `Origin` with every write. Other programs
send neither, and are not affected.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import Scope

READS = ("GET", "HEAD", "OPTIONS")
OWN_SITE = ("same-origin", "none")  # none: the person typed the address or used a bookmark
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def is_from_foreign_page(scope: Scope) -> bool:
    """Return whether a page of another origin caused this request; another port is another origin."""
    if sites := header_values(scope, b"sec-fetch-site"):
        return any(site not in OWN_SITE for site in sites)
    own = {host.lower() for host in header_values(scope, b"host")}
    return any(_host_and_port(origin) not in own for origin in _origins(scope))


def is_from_page_of(scope: Scope, origins: Collection[str]) -> bool:
    """Return whether a page of one of these origins caused this request."""
    sent = _origins(scope)
    return bool(sent) and all(origin in origins for origin in sent)


def has_host(scope: Scope, hosts: Collection[str]) -> bool:
    """Return whether the request names one of these hosts, with any port, or none, which no browser does.

    A page can point its own host name to this machine (DNS rebinding). The browser then takes our responses for that
    site's own, but still sends the site's host name.
    """
    return all(_without_port(host) in hosts for host in header_values(scope, b"host"))


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a header."""
    return [value.decode("latin-1").strip() for sent, value in scope["headers"] if sent == name]


def _origins(scope: Scope) -> list[str]:
    return header_values(scope, b"origin")


def _host_and_port(origin: str) -> str | None:
    """Return the host and port of an origin; None for the origin `null`, which sandboxed pages have."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _without_port(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
