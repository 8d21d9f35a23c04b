"""The codec server: decrypts payloads for Temporal's UI and command line, by Temporal's codec protocol."""

from base64 import b64decode
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Request
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from pydantic import TypeAdapter
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payload, Payloads

from commerce.errors import MissingKey
from commerce.settings import Settings
from starter.api.callers import Role, requires
from starter.api.error_codes import ErrorCode
from starter.api.errors import COMMON_ERRORS, ApiError, Problem, Responses, error_examples, json_example
from starter.browser_requests import is_from_page_of
from starter.client import connection_config
from starter.connection.encryption import Encryption

PREFIX = "/codec/"
LOOPBACK = ("localhost", "127.0.0.1")
DEFAULT_PORTS = {"http": 80, "https": 443}
Json = dict[str, Any]
_OBJECT = TypeAdapter(Json)
STANDARD_ALPHABET = str.maketrans("-_", "+/")  # from the URL-safe one, which protobuf's JSON form also allows
NO_NAMESPACE = "This server has no such namespace"
NOT_PAYLOADS = "The body must be Temporal's Payloads as JSON"
PAYLOADS_EXAMPLE = {
    "payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "eyJvcmRlcl9pZCI6IjEwMDEifQ=="}]
}
RESPONSES: Responses = {
    200: json_example(PAYLOADS_EXAMPLE, "The payloads, in the same order"),
    **COMMON_ERRORS,
    **error_examples(
        HTTPStatus.BAD_REQUEST,
        "The body is not a list of payloads",
        Problem(error=NOT_PAYLOADS, code=ErrorCode.InvalidPayloads),
    ),
    **error_examples(
        HTTPStatus.NOT_FOUND,
        "The server works in another namespace",
        Problem(error=NO_NAMESPACE, code=ErrorCode.NamespaceNotFound),
    ),
    **error_examples(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The server lacks the encryption key", MissingKey("1f2e3d4c5b6a7988")
    ),
}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": PAYLOADS_EXAMPLE}},
    }
}


class Codec:
    """The encryption and the namespace that the codec routes serve."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """Load the keys and the namespace; raises SettingsError."""
        self.encryption = Encryption.from_settings(settings)
        self.namespace = connection_config(environment)["namespace"]


async def _encryption(
    request: Request, namespace: Annotated[str, Path(description="Temporal's namespace")]
) -> Encryption:
    codec: Codec = request.app.state.codec
    if namespace != codec.namespace:
        raise ApiError(HTTPStatus.NOT_FOUND, ErrorCode.NamespaceNotFound, NO_NAMESPACE)
    return codec.encryption


async def _payloads(request: Request) -> Payloads:
    """Parse the body, protobuf's JSON form of `Payloads`."""
    try:
        body = _OBJECT.validate_json(await request.body())
        payloads = ParseDict(body, Payloads())
        _check_base64(body)
    except (ParseError, ValueError):
        raise ApiError(HTTPStatus.BAD_REQUEST, ErrorCode.InvalidPayloads, NOT_PAYLOADS) from None
    return payloads


def _check_base64(body: Json) -> None:
    """Raise ValueError if a value of these payloads is not base64: ParseDict skips characters that it does not know."""
    for payload in body.get("payloads") or ():
        for text in (payload.get("data"), *(payload.get("metadata") or {}).values()):
            if text:
                padding = "=" * (-len(text) % 4)  # may be left out
                b64decode(text.translate(STANDARD_ALPHABET) + padding, validate=True)


EncryptionDep = Annotated[Encryption, Depends(_encryption)]
PayloadsDep = Annotated[Payloads, Depends(_payloads)]
routes = APIRouter(prefix=f"{PREFIX}{{namespace}}", tags=["codec"], responses=RESPONSES)


@routes.post("/encode", summary="Encrypt payloads", openapi_extra=REQUEST_BODY, dependencies=[requires(Role.operator)])
async def encode_payloads(encryption: EncryptionDep, body: PayloadsDep) -> Json:
    """Encrypt payloads with the newest key."""
    return _as_json(await encryption.encode(body.payloads))


@routes.post("/decode", summary="Decrypt payloads", openapi_extra=REQUEST_BODY, dependencies=[requires(Role.operator)])
async def decode_payloads(encryption: EncryptionDep, body: PayloadsDep) -> Json:
    """Decrypt payloads. Unencrypted ones are returned unchanged; 422 names the key if it is missing."""
    try:
        return _as_json(await encryption.decode(body.payloads))
    except MissingKey as error:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, ErrorCode.MissingKey, str(error)) from error


def _as_json(payloads: Iterable[Payload]) -> Json:
    return {"payloads": [MessageToDict(payload) for payload in payloads]}


class CodecCors:
    """Allows pages of Temporal's UI, and no others, to read the responses of the codec routes."""

    def __init__(self, app: ASGIApp, ui_url: str) -> None:
        self._app, self._origins = app, page_origins(ui_url)
        self._cors_app = CORSMiddleware(
            app,
            allow_origins=self._origins,
            allow_methods=["POST"],
            allow_headers=["*"],
            allow_credentials=True,
            allow_private_network=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the app, adding CORS headers to codec requests from the UI."""
        needs_cors = scope["type"] == "http" and scope["path"].startswith(PREFIX) and self._is_from_ui(scope)
        await (self._cors_app if needs_cors else self._app)(scope, receive, send)

    def _is_from_ui(self, scope: Scope) -> bool:
        return is_from_page_of(scope, self._origins)


def page_origins(url: str) -> list[str]:
    """Return the origin of a URL as browsers send it; a loopback URL has two."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    port = "" if parts.port in (None, DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return [f"{parts.scheme}://{name}{port}" for name in (LOOPBACK if host in LOOPBACK else (host,))]
