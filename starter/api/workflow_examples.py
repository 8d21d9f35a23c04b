"""Example bodies and responses of the workflow routes, for the OpenAPI document."""

from http import HTTPStatus

from pydantic import JsonValue

from commerce.errors import (
    BadInput,
    CancelRefused,
    CustomerAlreadyExists,
    DismissRefused,
    JobInProgress,
    OrderNotFound,
    ProcessIdTaken,
    ProcessNotFound,
    RegistrationInProgress,
    RetryRefused,
)
from commerce.messages.base import FieldError
from starter.api.error_codes import ErrorCode
from starter.api.errors import WORKFLOW_FAILED, Problem, Responses, error_examples, json_example

ORDER, RUN = "order-processing-1001", "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"
RESULT = {
    "order_id": "1001",
    "status": "fulfilled",
    "fulfillment_id": "5d0c9f8e-1f7a-4a38-9a3c-0c6b8a3a7d52",
    "tracking_number": "TRK0000001001",
    "inventory_reserved": True,
    "notification_sent": True,
    "tracking_numbers": ["TRK0000001001"],
    "insufficient_items": [],
    "insufficient_count": 0,
}
LISTED = {
    "transaction_id": ORDER,
    "run_id": RUN,
    "type": "order-processing",
    "status": "completed",
    "state": "completed",
    "started_at": "2026-03-02T12:00:00Z",
    "ended_at": "2026-03-02T12:00:01Z",
    "failed_step": None,
    "failure_type": None,
    "outcome": "fulfilled",
    "waiting_for": None,
}
STEP = {
    "name": "validate-order",
    "state": "done",
    "scheduled_at": "2026-03-02T12:00:00Z",
    "ended_at": "2026-03-02T12:00:00Z",
    "until": None,
    "note": "5 units on 1 line",
    "error": None,
    "attempts": 1,
}
SHOWN = LISTED | {
    "progress": {"state": "completed", "steps": [STEP]},
    "progress_missing": None,
    "result": RESULT,
    "error": None,
    "ui_url": f"http://localhost:8233/namespaces/default/workflows/{ORDER}/{RUN}",
}
EXECUTE_BODIES: list[JsonValue] = [
    {"workflow_id": "order-processing", "input": {"order_id": "1001"}},
    {
        "workflow_id": "customer-registration",
        "input": {
            "email": "ann@customer.example",
            "password": "correct horse",
            "first_name": "Ann",
            "last_name": "Lee",
        },
    },
    {"workflow_id": "sync-inventory", "input": {}, "wait_seconds": 0},
]
NOT_FOUND = error_examples(HTTPStatus.NOT_FOUND, "There is no such process", ProcessNotFound("order-processing-7"))
PENDING = json_example(
    {"success": True, "status": "running", "transaction_id": ORDER}, "The process still runs after `wait_seconds`"
)
EXECUTE_RESPONSES: Responses = {
    200: json_example({"success": True, "result": RESULT, "transaction_id": ORDER}, "The process completed"),
    **error_examples(
        HTTPStatus.BAD_REQUEST,
        "There is no such process type",
        Problem(error="Unknown workflow: order-procesing", code=ErrorCode.UnknownWorkflow),
    ),
    **error_examples(
        HTTPStatus.CONFLICT,
        "The process already runs and cannot be joined, or the customer already has an account",
        RegistrationInProgress(),
        CustomerAlreadyExists(),
        JobInProgress("sync-inventory", "sync-inventory-2026-03-02T12:00:00Z"),
        ProcessIdTaken("greeting-7"),
    ),
    **error_examples(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The body, or the input of this process type, is invalid",
        BadInput([FieldError(field="body.input.order_id", message="Field required")]),
    ),
    **error_examples(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The process failed, and its completed steps were undone",
        Problem(
            error=WORKFLOW_FAILED,
            code=ErrorCode.OrderNotFound,
            details=f"OrderNotFound: {OrderNotFound('1001')}",
            transaction_id=ORDER,
            failed_step="validate-order",
        ),
    ),
}
EXECUTE_RESPONSES[500]["model"] = Problem  # once, so that the document has the schema that all errors refer to
LIST_RESPONSES: Responses = {
    200: json_example({"workflows": [LISTED], "next_cursor": None}, "One page of processes, and the cursor of the next")
}
STATUS_RESPONSES: Responses = {200: json_example(SHOWN, "The state of the latest run"), **NOT_FOUND}
RETRY_RESPONSES: Responses = {
    202: json_example({"transaction_id": ORDER, "run_id": RUN, "action": "retry"}, "The new run was started"),
    **NOT_FOUND,
    **error_examples(HTTPStatus.CONFLICT, "The process cannot be retried", RetryRefused(ORDER, "it is completed")),
}
BULK_RETRY_BODY: dict[str, JsonValue] = {
    "failed_with": "CarrierRefused",
    "type": "order-processing",
    "since": "2026-03-01T00:00:00Z",
    "dry_run": False,
    "reason": "The carrier works again",
}
FAILED_ORDER = LISTED | {
    "status": "failed",
    "state": "compensated",
    "failed_step": "create-shipping-label",
    "failure_type": "CarrierRefused",
    "outcome": None,
}
BULK_RETRY_RESPONSES: Responses = {
    200: json_example(
        {
            "dry_run": False,
            "workflows": [FAILED_ORDER],
            "more": False,
            "retried": [{"transaction_id": ORDER, "run_id": RUN}],
            "refused": [],
        },
        "The selected processes and, unless this was a dry run, what became of them",
    ),
}
BULK_CANCEL_BODY: dict[str, JsonValue] = {
    "type": "deliver-webhook",
    "until": "2026-03-01T00:00:00Z",
    "dry_run": False,
    "reason": "The receiver is gone",
}
RUNNING_ORDER = LISTED | {"status": "running", "state": "running", "ended_at": None, "outcome": None}
BULK_CANCEL_RESPONSES: Responses = {
    200: json_example(
        {
            "dry_run": False,
            "workflows": [RUNNING_ORDER],
            "more": False,
            "cancelled": [{"transaction_id": ORDER, "run_id": RUN}],
            "refused": [],
        },
        "The selected processes and, unless this was a dry run, what became of them",
    ),
}
DISMISS_RESPONSES: Responses = {
    200: json_example({"transaction_id": ORDER, "run_id": RUN, "action": "dismiss"}, "It is dismissed"),
    **NOT_FOUND,
    **error_examples(HTTPStatus.CONFLICT, "The process has not failed", DismissRefused(ORDER, "it is completed")),
}
CANCEL_RESPONSES: Responses = {
    202: json_example({"transaction_id": ORDER, "run_id": RUN, "action": "cancel"}, "The cancellation was requested"),
    **NOT_FOUND,
    **error_examples(HTTPStatus.CONFLICT, "The process cannot be cancelled", CancelRefused(ORDER, "it is completed")),
}
