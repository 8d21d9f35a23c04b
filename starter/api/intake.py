"""Orders straight from the shop: the signed webhooks of Shopify and WooCommerce."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from pydantic import Field, SecretStr

from commerce.intake.deliveries import Delivery, receive
from commerce.intake.signatures import is_signed
from starter.api.admission import RESPONSES as TOO_MANY
from starter.api.admission import AdmissionDep
from starter.api.backends import BackendsDep
from starter.api.error_codes import ErrorCode
from starter.api.errors import COMMON_ERRORS, ApiError, Problem, Responses, body_too_large, error_examples, json_example
from starter.api.limits import MAX_SIGNED_MEBIBYTES
from starter.api.parameters import ResponseBody

PING = re.compile(rb"webhook_id=[0-9]{1,20}")  # what WooCommerce posts, unsigned, when a webhook is saved
NOT_SIGNED = "The signature is missing or fits none of the secrets"
IS_OFF = "This route has no secret yet"


class IntakeAnswer(ResponseBody):
    """What became of a webhook."""

    status: Literal["stored", "known", "ignored", "unusable", "waiting", "repeated", "ping"] = Field(
        description="unusable: it was kept and the admins are alerted; waiting: it is taken within a minute"
    )
    order_id: str | None = Field(None, description="Our id of the order; null if there is none")
    reason: str | None = Field(None, description="Why the webhook was ignored or could not be used")


STORED = {"status": "stored", "order_id": "450789469", "reason": None}
RESPONSES: Responses = {
    200: json_example(STORED, "The webhook is accepted, also if it is repeated or cannot be used"),
    **error_examples(
        HTTPStatus.UNAUTHORIZED, "The body is not signed", Problem(error=NOT_SIGNED, code=ErrorCode.Unauthorized)
    ),
    **error_examples(HTTPStatus.NOT_FOUND, "The route is off", Problem(error=IS_OFF, code=ErrorCode.NotFound)),
    **error_examples(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large", body_too_large(MAX_SIGNED_MEBIBYTES)
    ),
    **TOO_MANY,
}
OWN_ERRORS = {status: response for status, response in COMMON_ERRORS.items() if status != HTTPStatus.FORBIDDEN}
routes = APIRouter(prefix="/intake", tags=["intake"], responses=OWN_ERRORS)


def _body(example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


@routes.post(
    "/shopify",
    summary="Take an order from Shopify",
    response_model=IntakeAnswer,
    responses=RESPONSES,
    openapi_extra=_body({"id": 450789469, "name": "#1001", "financial_status": "paid", "line_items": []}),
)
async def receive_shopify_order(
    request: Request,
    backends: BackendsDep,
    admission: AdmissionDep,
    x_shopify_hmac_sha256: Annotated[str, Header(description="Base64 of the HMAC-SHA256 of the body")] = "",
    x_shopify_topic: Annotated[str, Header(description="Such as orders/create")] = "",
    x_shopify_webhook_id: Annotated[str, Header(description="The same if a webhook is repeated")] = "",
    x_shopify_event_id: Annotated[str, Header(description="For webhooks without an id")] = "",
) -> IntakeAnswer:
    """Take a webhook of Shopify about an order, signed with one of `COMMERCE_SHOPIFY_SECRETS`. It needs no token.

    The order is stored or changed as `PUT /orders` does it. A repeated webhook does nothing. One that cannot be used is
    kept, the admins are alerted, and it is a 200 as well: Shopify removes subscriptions that fail.
    """
    settings = backends.settings
    body = await signed_body(request, x_shopify_hmac_sha256, settings.shopify_secrets)
    delivery_id = x_shopify_webhook_id or x_shopify_event_id
    source = settings.shopify_source or settings.order_source
    return await _take(backends, admission, Delivery("shopify", x_shopify_topic.lower(), delivery_id, body, source))


@routes.post(
    "/woocommerce",
    summary="Take an order from WooCommerce",
    response_model=IntakeAnswer,
    responses=RESPONSES,
    openapi_extra=_body({"id": 727, "number": "727", "status": "processing", "line_items": []}),
)
async def receive_woocommerce_order(
    request: Request,
    backends: BackendsDep,
    admission: AdmissionDep,
    x_wc_webhook_signature: Annotated[str, Header(description="Base64 of the HMAC-SHA256 of the body")] = "",
    x_wc_webhook_topic: Annotated[str, Header(description="Such as order.created")] = "",
    x_wc_webhook_delivery_id: Annotated[str, Header(description="The same if a webhook is repeated")] = "",
) -> IntakeAnswer:
    """Take a webhook of WooCommerce about an order, signed with one of `COMMERCE_WOOCOMMERCE_SECRETS`.

    It needs no token. The order is stored or changed as `PUT /orders` does it. A repeated webhook does nothing. One
    that cannot be used is kept, the admins are alerted, and it is a 200 as well: WooCommerce disables webhooks that
    fail. Its ping, which is not signed, is a 200 and does nothing.
    """
    settings = backends.settings
    if settings.woocommerce_secrets and PING.fullmatch((await request.body()).strip()):
        return IntakeAnswer(status="ping", order_id=None, reason=None)
    body = await signed_body(request, x_wc_webhook_signature, settings.woocommerce_secrets)
    source = settings.woocommerce_source or settings.order_source
    delivery = Delivery("woocommerce", x_wc_webhook_topic.lower(), x_wc_webhook_delivery_id, body, source)
    return await _take(backends, admission, delivery)


async def signed_body(request: Request, signature: str, secrets: Sequence[SecretStr]) -> bytes:
    """Return the body as it was sent. Raises ApiError if the route is off or the body is not signed."""
    if not secrets:
        raise ApiError(HTTPStatus.NOT_FOUND, ErrorCode.NotFound, IS_OFF)
    body = await request.body()
    if not is_signed(body, signature, [secret.get_secret_value() for secret in secrets]):
        raise ApiError(HTTPStatus.UNAUTHORIZED, ErrorCode.Unauthorized, NOT_SIGNED)
    return body


async def _take(backends: BackendsDep, admission: AdmissionDep, delivery: Delivery) -> IntakeAnswer:
    """Take a signed webhook; raises ApiError if its platform sent too many."""
    await admission.delivery(delivery.platform)
    received = await receive(backends.database, delivery)
    return IntakeAnswer(status=received.status, order_id=received.order_id, reason=received.reason)
