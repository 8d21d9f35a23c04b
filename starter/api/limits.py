"""The size limits of request bodies."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.errors import MAX_MEBIBYTES, body_too_large, error_response
from starter.api.tokens import SIGNED_PATHS

MEBIBYTE = 1024 * 1024
MAX_BODY_BYTES = MAX_MEBIBYTES * MEBIBYTE
MAX_SIGNED_MEBIBYTES = 5  # a webhook with an order of hundreds of lines is larger than other bodies
MAX_DIGITS = 20  # of a declared length


def max_mebibytes(path: str) -> int:
    """Return the limit of a body that is sent to this path."""
    return MAX_SIGNED_MEBIBYTES if path in SIGNED_PATHS else MAX_MEBIBYTES


class BodyLimit:
    """Rejects bodies above the limit of their path before its route reads them, even if they declare no length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 413, or pass the request on to the app."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        mebibytes = max_mebibytes(scope["path"])
        limit = mebibytes * MEBIBYTE
        declared = None if "transfer-encoding" in headers else headers.get("content-length")
        if declared is None:
            received = await _read_body(receive, limit)
            size, receive = sum(len(part.get("body", b"")) for part in received), _replay(received, receive)
        else:  # the server never passes on more than this
            size = int(declared) if declared.isdecimal() and len(declared) <= MAX_DIGITS else limit + 1
        if size <= limit:
            return await self._app(scope, receive, send)
        rejection = error_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, body_too_large(mebibytes))
        return await rejection(scope, receive, send)


async def _read_body(receive: Receive, limit: int) -> list[Message]:
    """Receive the parts of a body, to its end or until it is too large."""
    parts, size = [await receive()], 0
    while parts[-1].get("more_body") and (size := size + len(parts[-1].get("body", b""))) <= limit:
        parts.append(await receive())
    return parts


def _replay(parts: list[Message], rest: Receive) -> Receive:
    """Return a `receive` that first repeats these parts and then receives the rest."""
    received = iter(parts)

    async def receive() -> Message:
        return next(received, None) or await rest()

    return receive
