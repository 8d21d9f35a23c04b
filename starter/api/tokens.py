"""Token authentication: once any token is configured, every protected route requires one."""

import hmac
from base64 import b64decode
from collections.abc import Sequence
from http import HTTPStatus

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from commerce.answer_links import PATH as ANSWERS
from commerce.api_tokens import parse_token
from starter.api.callers import LOCAL, Caller
from starter.api.codec import PREFIX as CODEC
from starter.api.errors import UNAUTHORIZED, error_response

OPEN_PATHS = ("/metrics", "/docs", "/openapi.json")
DOCS_FILES = "/docs/files"  # scripts and styles of the page /docs
HEALTH_PREFIX = "/health/"
CONSOLE = "/console"  # checks its own sessions
# A signature of each body stands in for the token.
SIGNED_PATHS = ("/intake/shopify", "/intake/woocommerce", "/intake/warehouse")


def is_signed(path: str) -> bool:
    """Return whether a signature stands in for the token: of the body, or of the path itself."""
    return path in SIGNED_PATHS or path.startswith(ANSWERS)


def is_public(path: str) -> bool:
    """Return whether no token is needed for a path."""
    return (
        path in (*OPEN_PATHS, CONSOLE)
        or is_signed(path)
        or path.startswith((HEALTH_PREFIX, f"{DOCS_FILES}/", f"{CONSOLE}/"))
    )


class TokenAuth:
    """Responds with 401 to requests without a valid token, and puts the caller into the state of the others.

    Without tokens, every caller is on this machine and may do everything.
    The codec routes also accept the token as the password of HTTP Basic: Temporal's UI cannot send a bearer token.
    """

    def __init__(self, app: ASGIApp, tokens: Sequence[SecretStr]) -> None:
        self._app = app
        parsed = [parse_token(token.get_secret_value()) for token in tokens]
        self._callers = [(token.secret.encode(), Caller(token.name, token.role)) for token in parsed]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 401, or pass the request on to the app."""
        if scope["type"] != "http" or is_public(scope["path"]):
            return await self._app(scope, receive, send)
        caller = self._identify(scope["path"], Headers(scope=scope).get("authorization", ""))
        if caller is not None:
            scope.setdefault("state", {})["caller"] = caller
            return await self._app(scope, receive, send)
        rejection = error_response(HTTPStatus.UNAUTHORIZED, UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        if scope["path"].startswith(CODEC):  # a separate header: not every browser reads two challenges from one
            rejection.headers.append("WWW-Authenticate", 'Basic realm="codec"')
        return await rejection(scope, receive, send)

    def _identify(self, path: str, authorization: str) -> Caller | None:
        if not self._callers:
            return LOCAL
        scheme, _, credentials = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._find(credentials.strip().encode("latin-1"))
            case "basic" if path.startswith(CODEC):
                return self._find(_password(credentials))
        return None

    def _find(self, presented: bytes) -> Caller | None:
        # Compare with every token, so that the duration does not reveal which one nearly matched.
        found = [caller for secret, caller in self._callers if hmac.compare_digest(presented, secret)]
        return found[0] if found else None


def _password(credentials: str) -> bytes:
    """Return the password in HTTP Basic credentials, or an empty one if they are malformed."""
    try:
        return b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""
