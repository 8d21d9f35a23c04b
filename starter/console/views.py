"""What each route of the console gets: who asks, the forms they send, and how to answer with a page.

A route takes a `ViewDep`, which also refuses those who are not signed in and forms that our pages have not made (H5).
What somebody must be at least is in the route's `dependencies`, as in the HTTP API: `requires(Role.operator)`.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response
from temporalio.client import Client

from commerce.database import Database
from commerce.settings import Settings
from starter.api.backends import Backends
from starter.api.callers import Caller, Role
from starter.browser_requests import READS
from starter.console.navigation import NAVIGATION
from starter.console.sessions import HOURS, PATH, Session, Sessions
from starter.console.texts import templates

FORM_KEY = "form_key"  # the field of every form that shows that a page of ours has made it
MAX_FIELDS = 2_000  # of a form
MAX_NOTICE = 300  # characters: a cookie has 4 KB, and some letters take nine bytes of it
NOTICE = "commerce-console-notice"  # the cookie with what the next page says about what has just been done
OUT_OF_DATE = "This page is out of date. Go back, reload it, and try again."
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(
        (
            *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"),
            *("frame-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"),
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


class NotSignedIn(Exception):
    """The request has no session that gives access. Private to this package: the answer leads to the sign-in page."""


class Form:
    """The fields of a form that was sent."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a field without spaces around it, or `default` if it was not sent."""
        return self._fields.get(name, [default])[0].strip()

    def all(self, name: str) -> list[str]:
        """Return all values of a field, such as those of ticked boxes."""
        return list(self._fields.get(name, []))

    def starting_with(self, start: str) -> dict[str, str]:
        """Return the values of the fields whose names start like this, by the rest of the name."""
        return {name.removeprefix(start): self.get(name) for name in self._fields if name.startswith(start)}

    def has(self, name: str) -> bool:
        """Return whether a field was sent, even an empty one."""
        return name in self._fields


@dataclass(frozen=True)
class View:
    """A request to the console, and how to answer it."""

    request: Request
    backends: Backends
    sessions: Sessions
    session: Session
    form: Form

    @property
    def caller(self) -> Caller:
        """Who asks. Raises NotSignedIn."""
        if self.session.caller is None:
            raise NotSignedIn
        return self.session.caller

    @property
    def settings(self) -> Settings:
        """The shop's settings."""
        return self.backends.settings

    @property
    def database(self) -> Database:
        """The shop's database."""
        return self.backends.database

    async def temporal(self) -> Client:
        """Return the connection to Temporal. Raises Unreachable."""
        return await self.backends.client()

    def may(self, least: Role) -> bool:
        """Return whether the caller has this role or a higher one."""
        return self.caller.role.includes(least)

    def render(self, template: str, status: int = HTTPStatus.OK, **variables: Any) -> HTMLResponse:
        """Return a page. Templates also get `view`, `may`, `form_key` and what the layout needs."""
        notice = unquote(self.request.cookies.get(NOTICE, ""))[:MAX_NOTICE]
        content = templates(self.settings).get_template(template).render(self._variables(notice) | variables)
        response = HTMLResponse(content, status, HEADERS)
        self.keep_session(response)
        if notice:
            response.delete_cookie(NOTICE, path=PATH, httponly=True, samesite="strict")
        return response

    def render_block(self, template: str, block: str, **variables: Any) -> str:
        """Return one block of a page, such as the part that changes while it is looked at."""
        found = templates(self.settings).get_template(template)
        return "".join(found.blocks[block](found.new_context(self._variables("") | variables)))

    def redirect(self, path: str, notice: str = "") -> RedirectResponse:
        """Return the answer to a form: the way to a page of the console, which says what has been done."""
        response = RedirectResponse(path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
        if notice:
            value = quote(notice[:MAX_NOTICE])
            response.set_cookie(NOTICE, value, 60, path=PATH, httponly=True, samesite="strict", secure=self.is_secure)
        return response

    def keep_session(self, response: Response, session: Session | None = None) -> None:
        """Let the browser keep a session; by default this one, if the browser does not have it yet."""
        name = self.sessions.cookie_name
        wanted = session or self.session
        if self.request.cookies.get(name) != wanted.cookie:
            response.set_cookie(
                name, wanted.cookie, HOURS * 3600, path=PATH, httponly=True, samesite="strict", secure=self.is_secure
            )

    @property
    def is_secure(self) -> bool:
        """Whether the browser reaches the console over TLS, so that it must never send the cookie without."""
        url = self.settings.console_url or ""
        # A proxy that ends TLS may not say so, but the settings know its address.
        is_behind_tls = url.startswith("https://") and urlsplit(url).netloc == self.request.headers.get("host")
        return self.request.url.scheme == "https" or is_behind_tls

    def _variables(self, notice: str) -> dict[str, Any]:
        return {
            "view": self,
            "may": self.may,
            "Role": Role,
            "path": self.request.url.path,
            "navigation": NAVIGATION,
            "form_key": self.session.form_key,
            "notice": notice,
            "problem": None,
            "settings": self.settings,
        }


def view_without_form(request: Request) -> View:
    """Return the view of a request, signed in or not, that sends no form, or none that counts."""
    sessions: Sessions = request.app.state.sessions
    session = sessions.read(request.cookies.get(sessions.cookie_name, "")) or sessions.start()
    return View(request, request.app.state.backends, sessions, session, Form({}))


async def open_view(request: Request) -> View:
    """Return the view of a request, signed in or not. Raises HTTPException for a form that we have not made."""
    view = view_without_form(request)
    if view.session.caller:
        request.state.caller = view.session.caller
    if request.method not in READS:
        view = replace(view, form=await _read_form(request))
        if not hmac.compare_digest(view.form.get(FORM_KEY).encode(), view.session.form_key.encode()):
            raise HTTPException(HTTPStatus.FORBIDDEN, OUT_OF_DATE)
    request.state.view = view
    return view


async def signed_in(view: Annotated[View, Depends(open_view)]) -> View:
    """Return the view of a request that is signed in. Raises NotSignedIn."""
    view.request.state.caller = view.caller
    return view


OpenViewDep = Annotated[View, Depends(open_view)]
ViewDep = Annotated[View, Depends(signed_in)]


async def _read_form(request: Request) -> Form:
    """Return the fields of a form, without what PostgreSQL cannot store."""
    text = (await request.body()).decode("utf-8", "replace").replace("\0", "")
    try:
        return Form(parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, encoding="utf-8"))
    except ValueError:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "This form has too many fields.") from None
