"""A way to URLs that others have chosen, which leads to public addresses only.

The address that a URL's name leads to is checked when it is connected to, and it is that very address which is
connected to: a name that leads elsewhere a moment later gains nothing.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from commerce.errors import WebhookForbidden
from commerce.webhooks import is_loopback

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, the best to connect to first; raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


CONNECT = 3.0  # seconds for one address, so that there is time for another
RELAYS = ip_network("192.88.99.0/24")  # of 6to4, long out of use


class PublicTransport(httpx.AsyncBaseTransport):
    """Connects to public addresses only, unless `private` ones are allowed; to this machine if the URL says so itself.

    Raises WebhookForbidden when a name has no address that may be connected to.
    """

    def __init__(
        self, *, private: bool, resolve: Resolve = resolve, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._private = private
        self._resolve = resolve
        # No connection is kept: the next one to this address may be meant for another name.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._transport = transport or httpx.AsyncHTTPTransport(limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Connect to the first address that may and can be; name and certificate stay those of the URL."""
        for address in (addresses := await self._addresses(request.url)):
            try:
                return await self._transport.handle_async_request(_to(address, request))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise WebhookForbidden

    async def _addresses(self, url: httpx.URL) -> list[str]:
        found = await self._resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
        local = is_loopback(url.host)
        return [address for address in found if self._may_connect(ip_address(address), local=local)]

    def _may_connect(self, address: IPv4Address | IPv6Address, *, local: bool) -> bool:
        return address.is_loopback if local else self._private or _is_public(address)

    async def aclose(self) -> None:
        """Close what connections are open."""
        await self._transport.aclose()


def _to(address: str, request: httpx.Request) -> httpx.Request:
    """Return the request as it goes to an address; its header Host is set already."""
    timeouts = request.extensions.get("timeout", {}) | {"connect": CONNECT}
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.raw_host.decode(), "timeout": timeouts},
    )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of the Internet's; one that only wraps another is not."""
    if isinstance(address, IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address.is_site_local
    ):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address in RELAYS)
