"""The files that the console's pages load: all from this package, so that it works without the internet.

`assets/sources.json` says where the files of others are from: unmodified distribution files, with version, licence and
checksums.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, HTTPException, Request, Response

TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
FOLDER = files("starter.console") / "assets"
FOREVER = "public, max-age=31536000, immutable"  # the address of a file has its digest
DIGEST_DIGITS = 12

routes = APIRouter(prefix="/assets")


class Asset(NamedTuple):
    """A file, its media type, and the start of its digest."""

    content: bytes
    media_type: str
    digest: str


@cache
def load_assets() -> dict[str, Asset]:
    """Return the files by name."""
    found = {}
    for file in FOLDER.iterdir():
        if (kind := file.name.rpartition(".")[2]) in TYPES:
            content = file.read_bytes()
            found[file.name] = Asset(content, TYPES[kind], sha256(content).hexdigest()[:DIGEST_DIGITS])
    return found


def asset_url(name: str) -> str:
    """Return the address of a file, which changes with its content."""
    return f"/console/assets/{name}?v={load_assets()[name].digest}"


@routes.get("/{name}")
async def send_asset(name: str, request: Request) -> Response:
    """Send a file to anybody: the page for signing in needs them, too."""
    asset = load_assets().get(name)
    if asset is None:
        raise HTTPException(404)
    # With another digest this is the newer version of a file: it must not be kept under the old address.
    is_current = request.query_params.get("v") == asset.digest
    headers = {"Cache-Control": FOREVER if is_current else "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(asset.content, media_type=asset.media_type, headers=headers)
