"""Sign in and out."""

from http import HTTPStatus

from fastapi import APIRouter
from starlette.responses import Response

from starter.console.sessions import PATH
from starter.console.views import OpenViewDep

WRONG_TOKEN = "This is not a token of this shop."  # noqa: S105 - a message

routes = APIRouter()


@routes.get("/sign-in")
async def show_sign_in(view: OpenViewDep, next: str = "") -> Response:  # noqa: A002 - the name in the address
    """Ask for a token, or lead on those who are signed in."""
    target = _own_page(next)
    if view.session.caller:
        return view.redirect(target)
    return view.render("sign-in.html.j2", target=target)


@routes.post("/sign-in")
async def sign_in(view: OpenViewDep) -> Response:
    """Start a session for a token."""
    target = _own_page(view.form.get("next"))
    session = view.sessions.sign_in(view.form.get("token"))
    if session is None:
        return view.render("sign-in.html.j2", HTTPStatus.FORBIDDEN, target=target, problem=WRONG_TOKEN)
    response = view.redirect(target)
    view.keep_session(response, session)
    return response


@routes.post("/sign-out")
async def sign_out(view: OpenViewDep) -> Response:
    """End the session in this browser."""
    response = view.redirect(f"{PATH}/sign-in")
    response.delete_cookie(view.sessions.cookie_name, path=PATH, httponly=True, samesite="strict")
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def _own_page(path: str) -> str:
    """Return a path of the console, or its first page for any other address, such as one of another site."""
    is_own = path.startswith(f"{PATH}/") and path.isprintable()
    return path if is_own and not path.startswith(f"{PATH}/sign-in") else f"{PATH}/"
