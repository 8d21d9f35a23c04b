"""An httpx transport for URLs that outsiders choose: it connects to public addresses only.

It resolves the name, checks the addresses, and connects to a checked address. A name that resolves differently a moment
later (DNS rebinding) changes nothing.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from commerce.errors import WebhookForbidden
from commerce.integrations.tls import tls_context
from commerce.webhooks import is_loopback

CONNECT_TIMEOUT = 3.0  # seconds per address, which leaves time to try another
# Python's `is_global` depends on its version, and knows neither all special-purpose networks nor those of cloud hosts.
NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 serves the metadata of Oracle's cloud
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4, deprecated by RFC 7526
        "192.175.48.0/24",  # AS112
        "168.63.129.16/32",  # the host of a machine in Azure
        "2001::/23",  # IETF protocol assignments, among them Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 embeds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
GLOBAL_UNICAST = ip_network("2000::/3")  # all other IPv6 networks are local, or embed IPv4 addresses
ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")  # the middle of an IPv6 address that embeds an IPv4 address

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, in the order in which to try them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PublicTransport(httpx.AsyncBaseTransport):
    """Connects to public addresses, with `private` also to private ones.

    It connects to this machine if, and only if, the URL names it literally. Raises WebhookForbidden when a host has no
    allowed address.
    """

    def __init__(
        self, *, private: bool, resolve: Resolve = resolve, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._private = private
        self._resolve = resolve
        # No keep-alive: the pool would reuse a connection to this address for another host name.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False, verify=tls_context())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first allowed address that accepts a connection, with the host name of the URL."""
        for address in (addresses := await self._allowed_addresses(request.url)):
            try:
                return await self._transport.handle_async_request(_for_address(address, request))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise WebhookForbidden

    async def _allowed_addresses(self, url: httpx.URL) -> list[str]:
        found = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        local = is_loopback(url.host)
        return [address for address in found if self._is_allowed(ip_address(address), local=local)]

    def _is_allowed(self, address: IPv4Address | IPv6Address, *, local: bool) -> bool:
        return address.is_loopback if local else self._private or _is_public(address)

    async def aclose(self) -> None:
        """Close open connections."""
        await self._transport.aclose()


def _for_address(address: str, request: httpx.Request) -> httpx.Request:
    """Return the request with the address in place of the host. Its header Host is set already."""
    timeouts = request.extensions.get("timeout", {}) | {"connect": CONNECT_TIMEOUT}
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.raw_host.decode(), "timeout": timeouts},
    )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is public. An IPv6 address that embeds an IPv4 address is not."""
    if isinstance(address, IPv6Address) and (address not in GLOBAL_UNICAST or address.packed[8:12] in ISATAP):
        return False
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved)
        and not any(address in network for network in NOT_PUBLIC)
    )
