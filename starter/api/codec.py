"""Decrypts payloads for those who look at runs: Temporal's UI and its command line, by their codec protocol."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Request
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payloads

from commerce.errors import MissingKey
from commerce.settings import Settings
from starter.api.parameters import COMMON_ERRORS
from starter.api.errors import Responses, error_example, json_example
from starter.client import connection_config
from starter.connection.encryption import Encryption

PREFIX = "/codec/"
LOOPBACK = ("localhost", "127.0.0.1")
DEFAULT_PORTS = {"http": 80, "https": 443}
Json = dict[str, Any]
_OBJECT = TypeAdapter(Json)
PAYLOADS_EXAMPLE = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "eyJvcmRlcl9pZCI6IjEwMDEifQ=="}]}
RESPONSES: Responses = {
    200: json_example(PAYLOADS_EXAMPLE, "The payloads, in the order given"),
    **COMMON_ERRORS,
    **error_example(HTTPStatus.BAD_REQUEST, "No payloads", error="The body is not Payloads as JSON"),
    **error_example(HTTPStatus.NOT_FOUND, "Not our namespace", error="No such namespace here"),
    **error_example(HTTPStatus.UNPROCESSABLE_ENTITY, "A key is missing", error="Encryption key 1f2e is missing"),
}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": PAYLOADS_EXAMPLE}},
    }
}


class Codec:
    """Our encryption, for our namespace."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """Read keys and namespace; raises SettingsError."""
        self.encryption, self.namespace = (
            Encryption.from_settings(settings),
            connection_config(environment)["namespace"],
        )


async def _codec(request: Request, namespace: Annotated[str, Path(description="Temporal's, and ours")]) -> Encryption:
    codec: Codec = request.app.state.codec
    if namespace != codec.namespace:
        raise HTTPException(HTTPStatus.NOT_FOUND, "No such namespace here")
    return codec.encryption


async def _payloads(request: Request) -> Payloads:
    """Read the body as the protocol wants it, as protobuf's own form of JSON."""
    try:
        return ParseDict(_OBJECT.validate_json(await request.body()), Payloads())
    except (ParseError, ValueError) as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body is not Payloads as JSON") from error


Codecs = Annotated[Encryption, Depends(_codec)]
PayloadsDep = Annotated[Payloads, Depends(_payloads)]
routes = APIRouter(prefix=f"{PREFIX}{{namespace}}", tags=["codec"], responses=RESPONSES)


@routes.post("/encode", openapi_extra=REQUEST_BODY)
async def encode(codec: EncryptionDep, given: PayloadsDep) -> Json:
    """Encrypt payloads with our newest key."""
    return {"payloads": [MessageToDict(payload) for payload in await codec.encode(given.payloads)]}


@routes.post("/decode", openapi_extra=REQUEST_BODY)
async def decode(codec: EncryptionDep, given: PayloadsDep) -> Json:
    """Decrypt payloads; what is in clear stays as it is, and 422 names the key that is missing."""
    try:
        return {"payloads": [MessageToDict(payload) for payload in await codec.decode(given.payloads)]}
    except MissingKey as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


class CodecCors:
    """Lets pages of Temporal's UI, and no others, read what the codec's routes answer."""

    def __init__(self, app: ASGIApp, ui_url: str) -> None:
        self._app, self._origins = app, _origins(ui_url)
        self._shared = CORSMiddleware(
            app,
            allow_origins=self._origins,
            allow_methods=["POST"],
            allow_headers=["*"],
            allow_credentials=True,
            allow_private_network=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, the UI's with the headers that its browser asks for."""
        shared = scope["type"] == "http" and scope["path"].startswith(PREFIX) and self._is_ours(scope)
        await (self._shared if shared else self._app)(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        return any(name == b"origin" and value.decode("latin-1") in self._origins for name, value in scope["headers"])


def _origins(url: str) -> list[str]:
    """Return the origin of a URL as browsers write it; that of this machine has two names."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    port = "" if parts.port in (None, DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return [f"{parts.scheme}://{name}{port}" for name in (LOOPBACK if host in LOOPBACK else (host,))]
