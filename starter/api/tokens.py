"""Who may use the API: whoever knows one of its tokens, as soon as there are any."""

import hmac
from base64 import b64decode
from collections.abc import Sequence
from http import HTTPStatus

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from starter.api.codec import PREFIX as CODEC
from starter.api.errors import Problem, answer

OPEN = ("/metrics", "/docs", "/openapi.json")
DOCS_FILES = "/docs/files"  # scripts and styles of the page at /docs
HEALTH = "/health/"


class Tokens:
    """Refuses with 401 who brings no token; the codec's browser page can only bring it as HTTP Basic's password."""

    def __init__(self, app: ASGIApp, tokens: Sequence[SecretStr]) -> None:
        self._app = app
        self._tokens = [token.get_secret_value().encode() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: with 401, or as the app does."""
        if scope["type"] != "http" or self._admits(scope["path"], Headers(scope=scope).get("authorization", "")):
            return await self._app(scope, receive, send)
        refusal = answer(
            HTTPStatus.UNAUTHORIZED, Problem(error="A valid token is needed"), {"WWW-Authenticate": "Bearer"}
        )
        if scope["path"].startswith(CODEC):  # in a line of its own: not every browser reads two from one
            refusal.headers.append("WWW-Authenticate", 'Basic realm="codec"')
        return await refusal(scope, receive, send)

    def _admits(self, path: str, authorization: str) -> bool:
        if not self._tokens or path in OPEN or path.startswith((HEALTH, f"{DOCS_FILES}/")):
            return True
        scheme, _, given = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._knows(given.strip().encode("latin-1"))
            case "basic" if path.startswith(CODEC):
                return self._knows(_password(given))
        return False

    def _knows(self, given: bytes) -> bool:
        # All are compared, so that the time tells nothing of which one came near.
        return sum(hmac.compare_digest(given, token) for token in self._tokens) > 0


def _password(credentials: str) -> bytes:
    """Return the password of HTTP Basic's credentials, empty where there is none."""
    try:
        return b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""
