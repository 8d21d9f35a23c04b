"""HTTP requests to other systems, with our name and responses of a limited size. All requests are sent here.

A body is read in chunks and refused once it exceeds its limit. Compressed bodies are neither requested nor accepted: a
few kilobytes of gzip can be a gigabyte of text.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from commerce.version import NAME, VERSION

USER_AGENT = f"{NAME}/{VERSION}"
MAX_BYTES = 1024 * 1024


class TooLarge(httpx.HTTPError):
    """The body is larger than its limit. Private to the integrations, which raise their own errors for it."""


@dataclass(frozen=True)
class Response:
    """A response that was read completely."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Return whether the status is a 2xx."""
        return httpx.codes.is_success(self.status)


async def send(
    client: httpx.AsyncClient, method: str, url: str, *, max_bytes: int = MAX_BYTES, **request: Any
) -> Response:
    """Send a request and read its response. Raises TooLarge, and httpx.HTTPError as httpx does.

    `request` are further arguments of `httpx.AsyncClient.stream`.
    """
    async with unread(client, method, url, **request) as response:
        return Response(response.status_code, response.headers, await _read(response, max_bytes))


@asynccontextmanager
async def unread(client: httpx.AsyncClient, method: str, url: str, **request: Any) -> AsyncIterator[httpx.Response]:
    """Send a request and yield its response, whose body is not read; for callers that need only status and headers."""
    own = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    headers = {**(request.pop("headers", None) or {}), **own}
    async with client.stream(method, url, headers=headers, **request) as response:
        yield response


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise httpx.DecodingError("the response is compressed")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > max_bytes:
            raise TooLarge(f"the response is larger than {max_bytes:,} bytes")
    return bytes(content)
