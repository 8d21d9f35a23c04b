"""Use the console without a browser: sign in, open pages, send their forms."""

import re
from html import unescape

import httpx

SECRETS = {role: f"{role}-{'0' * 16}" for role in ("viewer", "operator", "admin")}
TOKENS = ",".join(f"{role[:3]}:{role}:{secret}" for role, secret in SECRETS.items())
FORM_KEY = re.compile(r'name="form_key" value="([^"]+)"')


class Console:
    """A person's browser."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def sign_in(self, role: str) -> "Console":
        """Sign in with the token of a role."""
        self.http.cookies.clear()
        response = await self.send("/sign-in", page="/sign-in", token=SECRETS[role])
        assert response.status_code == 303
        return self

    async def open(self, path: str) -> httpx.Response:
        """Open a page."""
        return await self.http.get(f"/console{path}")

    async def text(self, path: str) -> str:
        """Open a page that must be there, and return its text."""
        page = await self.open(path)
        assert page.status_code == 200, (path, page.status_code)
        return text_of(page)

    async def send(self, path: str, *, page: str = "/nothing", **fields: str | list[str]) -> httpx.Response:
        """Send a form, with the key that `page` has in its forms."""
        key = FORM_KEY.search((await self.open(page)).text)
        assert key
        return await self.http.post(f"/console{path}", data={"form_key": key[1], **fields})

    async def notice(self, response: httpx.Response) -> str:
        """Follow the answer to a form, and return what the next page says about it."""
        assert response.status_code == 303, (response.status_code, text_of(response))
        page = await self.http.get(response.headers["location"])
        found = re.search(r'<p class="notice" role="status">(.*?)</p>', page.text)
        return unescape(found[1]) if found else ""


def text_of(page: httpx.Response) -> str:
    """Return what a person reads on a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.text)).split())
