"""What the routes of processes answer, by example, for the OpenAPI document."""

from http import HTTPStatus

from pydantic import JsonValue

from starter.api.errors import Responses, error_example, json_example

ORDER, RUN = "order-processing-1001", "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"
RESULT = {
    "order_id": "1001",
    "status": "fulfilled",
    "fulfillment_id": "5d0c9f8e-1f7a-4a38-9a3c-0c6b8a3a7d52",
    "tracking_number": "TRK0000001001",
    "inventory_reserved": True,
    "notification_sent": True,
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
}
STEP = {
    "name": "validate-order",
    "state": "done",
    "scheduled_at": "2026-03-02T12:00:00Z",
    "ended_at": "2026-03-02T12:00:00Z",
    "note": "5 units on 1 lines",
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
NOT_FOUND = error_example(HTTPStatus.NOT_FOUND, "There is no such process", error="There is no process order-processing-7")
EXECUTE_RESPONSES: Responses = {
    200: json_example({"success": True, "result": RESULT, "transaction_id": ORDER}, "It has ended well"),
    202: json_example({"success": True, "status": "running", "transaction_id": ORDER}, "It goes on"),
    **error_example(HTTPStatus.BAD_REQUEST, "No such type", error="Unknown workflow: order-procesing"),
    **error_example(
        HTTPStatus.CONFLICT,
        "It runs already and cannot be joined, or the customer has an account",
        error="This e-mail address is already being registered; wait until that ends.",
    ),
    **error_example(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The body or the input of this type does not fit",
        error="Invalid input",
        fields=[{"field": "body.input.order_id", "message": "Field required"}],
    ),
    **error_example(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "It has failed; what it had done is undone",
        error="Workflow execution failed",
        details="OrderNotFound: Order 1001 does not exist.",
        transaction_id=ORDER,
        failed_step="validate-order",
    ),
}
LIST_RESPONSES: Responses = {200: json_example({"workflows": [LISTED], "next_cursor": None}, "The processes, and how to ask for more")}
STATUS_RESPONSES: Responses = {200: json_example(SHOWN, "How it stands"), **NOT_FOUND}
RETRY_RESPONSES: Responses = {
    202: json_example({"transaction_id": ORDER, "run_id": RUN, "action": "retry"}, "The new run"),
    **NOT_FOUND,
    **error_example(
        HTTPStatus.CONFLICT, "It is left as it is", error=f"Cannot retry {ORDER}: it is completed."
    ),
}
CANCEL_RESPONSES: Responses = {
    202: json_example({"transaction_id": ORDER, "run_id": RUN, "action": "cancel"}, "It is being undone"),
    **NOT_FOUND,
    **error_example(
        HTTPStatus.CONFLICT, "It is left as it is", error=f"Cannot cancel {ORDER}: it is completed."
    ),
}
