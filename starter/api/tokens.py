"""Token authentication: once any token is configured, every protected route requires one."""

import hmac
from base64 import b64decode
from collections.abc import Sequence
from http import HTTPStatus

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from commerce.answer_links import PATH as ANSWERS
from starter.api.codec import PREFIX as CODEC
from starter.api.errors import UNAUTHORIZED, error_response

OPEN_PATHS = ("/metrics", "/docs", "/openapi.json")
DOCS_FILES = "/docs/files"  # scripts and styles of the page /docs
HEALTH_PREFIX = "/health/"
SIGNED_PATHS = (
    "/intake/shopify",
    "/intake/woocommerce",
    "/intake/warehouse",
)  # a signature of each body stands in for the token


def is_signed(path: str) -> bool:
    """Return whether a signature stands in for the token: of the body, or of the path itself."""
    return path in SIGNED_PATHS or path.startswith(ANSWERS)


class TokenAuth:
    """Responds with 401 to requests without a valid token.

    The codec routes also accept the token as the password of HTTP Basic: Temporal's UI cannot send a bearer token.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[SecretStr]) -> None:
        self._app = app
        self._tokens = [token.get_secret_value().encode() for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 401, or pass the request on to the app."""
        if scope["type"] != "http" or self._is_allowed(scope["path"], Headers(scope=scope).get("authorization", "")):
            return await self._app(scope, receive, send)
        rejection = error_response(HTTPStatus.UNAUTHORIZED, UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        if scope["path"].startswith(CODEC):  # a separate header: not every browser reads two challenges from one
            rejection.headers.append("WWW-Authenticate", 'Basic realm="codec"')
        return await rejection(scope, receive, send)

    def _is_allowed(self, path: str, authorization: str) -> bool:
        if (
            not self._tokens
            or path in OPEN_PATHS
            or is_signed(path)
            or path.startswith((HEALTH_PREFIX, f"{DOCS_FILES}/"))
        ):
            return True
        scheme, _, credentials = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._is_valid(credentials.strip().encode("latin-1"))
            case "basic" if path.startswith(CODEC):
                return self._is_valid(_password(credentials))
        return False

    def _is_valid(self, presented: bytes) -> bool:
        # Compare with every token, so that the duration does not reveal which one nearly matched.
        return sum(hmac.compare_digest(presented, token) for token in self._tokens) > 0


def _password(credentials: str) -> bytes:
    """Return the password in HTTP Basic credentials, or an empty one if they are malformed."""
    try:
        return b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""
