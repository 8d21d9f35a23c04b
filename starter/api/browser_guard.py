"""Refuses what web pages of other sites could do through the browser of a person who can reach the API."""

from collections.abc import Collection
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from starter.api.error_codes import ErrorCode
from starter.api.errors import FOREIGN_PAGE, Problem, error_response
from starter.api.tokens import is_signed
from starter.browser_requests import LOOPBACK_HOSTS, READS, has_host, is_from_foreign_page, is_from_page_of

WRITING_GETS = frozenset({"/workflow"})  # GET routes that start something
FOREIGN_HOST = Problem(
    error="Without COMMERCE_API_TOKENS the API can be called only as localhost, 127.0.0.1 or [::1]",
    code=ErrorCode.HostNotAllowed,
)


class BrowserGuard:
    """Responds with 403 to writes by pages of other origins, and without tokens to every foreign host name.

    Without tokens the API listens on this machine only, so a foreign host name means DNS rebinding. Paths that take
    only signed bodies, and signed links, are exempt: no page can sign one, and a proxy passes them on under the shop's
    host name.
    """

    def __init__(
        self, app: ASGIApp, *, has_tokens: bool, api_host: str, codec_prefix: str, codec_origins: Collection[str]
    ) -> None:
        """Let pages of `codec_origins` write below `codec_prefix`; `api_host` is the address the API listens on."""
        self._app = app
        self._hosts = None if has_tokens else {*LOOPBACK_HOSTS, api_host}
        self._codec_prefix, self._codec_origins = codec_prefix, codec_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 403, or pass the request on to the app."""
        if scope["type"] != "http" or is_signed(scope["path"]):
            return await self._app(scope, receive, send)
        if self._hosts and not has_host(scope, self._hosts):
            return await error_response(HTTPStatus.FORBIDDEN, FOREIGN_HOST)(scope, receive, send)
        if self._writes(scope) and is_from_foreign_page(scope) and not self._is_codec_request_of_ui(scope):
            return await error_response(HTTPStatus.FORBIDDEN, FOREIGN_PAGE)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _writes(self, scope: Scope) -> bool:
        return scope["method"] not in READS or scope["path"] in WRITING_GETS

    def _is_codec_request_of_ui(self, scope: Scope) -> bool:
        return scope["path"].startswith(self._codec_prefix) and is_from_page_of(scope, self._codec_origins)
