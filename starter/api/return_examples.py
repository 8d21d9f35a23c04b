"""Example responses of the routes for returns, for the OpenAPI document."""

from http import HTTPStatus

from commerce.errors import (
    AlreadyAnswered,
    BadInput,
    OrderCancelled,
    OrderNotFound,
    OrderNotFulfilled,
    ReturnNotFound,
    WaitOver,
)
from commerce.messages.base import FieldError
from commerce.messages.waits import AnswerReceipt
from starter.api.errors import Responses, error_examples, json_example

RETURN, PROCESS = "f3a1c09b77d2e415", "return-order-f3a1c09b77d2e415"
VIEW = {
    "return_id": RETURN,
    "order_id": "1001",
    "number": "#1001",
    "state": "open",
    "transaction_id": PROCESS,
    "location": "London",
    "carrier": "USPS",
    "tracking_number": "9400111899223456789012",
    "label_url": "https://carrier.example/labels/shp_1.pdf",
    "currency": "GBP",
    "amount": None,
    "refunded": 0,
    "refund_due": 0,
    "refunded_elsewhere": 0,
    "created_at": "2026-03-09T10:00:00Z",
    "received_at": None,
    "ended_at": None,
    "lines": [
        {"line": 1, "sku": "MUG", "title": "Mug", "quantity": 2, "received": None, "sellable": None},
    ],
}
PAGE = {"returns": [VIEW], "next_cursor": None}
RECEIPT = {"transaction_id": PROCESS, "step": "await-return", "answer": "success", "round": 1, "status": "taken"}
NO_ORDER = error_examples(HTTPStatus.NOT_FOUND, "There is no such order", OrderNotFound("1001"))
NO_RETURN = error_examples(HTTPStatus.NOT_FOUND, "There is no such return", ReturnNotFound(RETURN))
START_RESPONSES: Responses = {
    202: json_example({"order_id": "1001", "return_id": RETURN, "transaction_id": PROCESS}, "The return is started"),
    **NO_ORDER,
    **error_examples(
        HTTPStatus.CONFLICT,
        "Nothing of the order can be returned",
        OrderNotFulfilled("1001"),
        OrderCancelled("1001"),
    ),
    **error_examples(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The order has not as many units that can be returned",
        BadInput([FieldError(field="body.items.0.quantity", message="the order has 1 fewer units of it")]),
    ),
}
RECEIPT_RESPONSES: Responses = {
    200: json_example(RECEIPT, "The process has what came back"),
    202: {"model": AnswerReceipt}
    | json_example(RECEIPT | {"status": "recorded"}, "It is noted; the process gets it when a worker runs"),
    **NO_RETURN,
    **error_examples(
        HTTPStatus.CONFLICT,
        "Something else is noted already, or the return is closed",
        AlreadyAnswered(PROCESS, "step await-return has an answer already"),
        WaitOver(PROCESS, "step await-return no longer waits"),
    ),
}
LIST_OF_ORDER_RESPONSES: Responses = {200: json_example(PAGE, "The returns of the order"), **NO_ORDER}
LIST_RESPONSES: Responses = {200: json_example(PAGE, "A page of returns")}
GET_RESPONSES: Responses = {200: json_example(VIEW, "The return"), **NO_RETURN}
