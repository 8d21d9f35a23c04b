"""How much a request may bring along."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starter.api.errors import Problem, answer

BODY_BYTES = 1024 * 1024


class BodyLimit:
    """Refuses a larger body on every route before anybody reads it, also one that does not say how large it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: with 413, or as the app does."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        said = None if "transfer-encoding" in headers else headers.get("content-length")
        if said is None:
            received = await _receive(receive)
            size, receive = sum(len(part.get("body", b"")) for part in received), _again(received, receive)
        else:  # the server sees to it that no more than this comes
            size = int(said)
        if size <= BODY_BYTES:
            return await self._app(scope, receive, send)
        refusal = answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Problem(error="The body is larger than 1 MiB"))
        return await refusal(scope, receive, send)


async def _receive(receive: Receive) -> list[Message]:
    """Take a body in parts, to its end or until it is too large."""
    parts, size = [await receive()], 0
    while parts[-1].get("more_body") and (size := size + len(parts[-1].get("body", b""))) <= BODY_BYTES:
        parts.append(await receive())
    return parts


def _again(parts: list[Message], rest: Receive) -> Receive:
    """Return a way to receive what was taken already, and then what comes."""
    waiting = iter(parts)

    async def receive() -> Message:
        return next(waiting, None) or await rest()

    return receive
