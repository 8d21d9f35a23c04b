"""Use every kind of route of the API through the generated client, and print what happened as JSON.

Arguments: the URL of the API and a token. The test prepares the orders, see test_generated_clients.py.
"""

import json
import sys
import time
from http import HTTPStatus

from shop_client import AuthenticatedClient
from shop_client.api.orders import put_order
from shop_client.api.workflows import cancel_workflow, execute_workflow, follow_workflow, get_workflow, retry_workflow
from shop_client.models import (
    ActionAccepted,
    Execute,
    ExecuteInput,
    ExecutionPending,
    ExecutionResult,
    PlacedLine,
    PlacedOrder,
    Problem,
    ProcessStatus,
    Reason,
    StoredOrder,
)

DEADLINE = 120  # seconds
MUG = PlacedLine(quantity=1, price="12.50", sku="MUG")
ORDER = PlacedOrder(
    financial_status="paid",
    created_at="2026-03-02T12:00:00Z",
    lines=[MUG],
    shipping_method="Standard",
    shipping_country="GB",
)
ANN = {"email": "ann@customer.example", "password": "correct horse", "first_name": "Ann", "last_name": "Lee"}

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], timeout=None)


def put(order_id: str, order: PlacedOrder = ORDER) -> StoredOrder | Problem | None:
    return put_order.sync(order_id, client=client, body=order)


def execute(
    kind: str, entry: dict[str, str], wait_seconds: float = 60
) -> ExecutionPending | ExecutionResult | Problem | None:
    body = Execute(workflow_id=kind, input_=ExecuteInput.from_dict(entry), wait_seconds=wait_seconds)
    return execute_workflow.sync(client=client, body=body)


def ended(transaction_id: str) -> ProcessStatus:
    deadline = time.monotonic() + DEADLINE
    while True:
        shown = get_workflow.sync(transaction_id, client=client)
        assert isinstance(shown, ProcessStatus)
        if shown.status != "running":
            return shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def fulfill() -> dict[str, object]:
    placed, again = put("c-1"), put("c-1")
    assert isinstance(placed, StoredOrder) and isinstance(again, StoredOrder) and placed.transaction_id
    pending = execute("order-processing", {"order_id": "c-1"}, wait_seconds=0)
    assert isinstance(pending, ExecutionPending)
    shown = ended(pending.transaction_id)
    assert shown.progress
    result = execute("order-processing", {"order_id": "c-1"})
    assert isinstance(result, ExecutionResult)
    return {
        "placed": [placed.status, again.status, placed.transaction_id],
        "pending": [pending.status, pending.transaction_id],
        "shown": [shown.status, shown.state, [step.state for step in shown.progress.steps]],
        "result": result.result["status"],
    }


def follow() -> dict[str, object]:
    stream = follow_workflow.sync_detailed("order-processing-c-1", client=client).content.decode()
    fields = [line.partition(": ") for line in stream.splitlines()]
    last_id = [value for name, _, value in fields if name == "id"][-1]
    again = follow_workflow.sync_detailed("order-processing-c-1", client=client, last_event_id=last_id)
    return {
        "events": [value for name, _, value in fields if name == "event"],
        "reconnected": again.status_code == HTTPStatus.NO_CONTENT,
    }


def retry() -> dict[str, object]:
    put("c-2")
    failed = execute("order-processing", {"order_id": "c-2"})
    assert isinstance(failed, Problem) and isinstance(failed.transaction_id, str)
    accepted = retry_workflow.sync(failed.transaction_id, client=client, body=Reason(reason="It works again"))
    assert isinstance(accepted, ActionAccepted)
    return {
        "failed": [failed.code, failed.failed_step],
        "retried": [accepted.action, ended(failed.transaction_id).status],
    }


def cancel() -> dict[str, object]:
    put("c-3")
    pending = execute("order-processing", {"order_id": "c-3"}, wait_seconds=0)
    assert isinstance(pending, ExecutionPending)
    accepted = cancel_workflow.sync(pending.transaction_id, client=client)
    assert isinstance(accepted, ActionAccepted)
    return {"cancelled": [accepted.action, ended(pending.transaction_id).status]}


def register() -> dict[str, object]:
    registered, again = execute("customer-registration", ANN), execute("customer-registration", ANN)
    assert isinstance(registered, ExecutionResult) and isinstance(again, Problem)
    return {"registered": registered.result["customer"]["email"], "registered_again": again.code}


def errors() -> dict[str, object]:
    unknown = get_workflow.sync("order-processing-c-4", client=client)
    invalid = put("c-5", PlacedOrder.from_dict(ORDER.to_dict() | {"shipping_country": "Atlantis"}))
    stranger = AuthenticatedClient(base_url=sys.argv[1], token="wrong")
    unauthorized = get_workflow.sync("order-processing-c-1", client=stranger)
    assert isinstance(unknown, Problem) and isinstance(invalid, Problem) and isinstance(unauthorized, Problem)
    assert isinstance(invalid.fields, list)
    return {
        "unknown": unknown.code,
        "invalid": [field.field for field in invalid.fields],
        "unauthorized": unauthorized.code,
    }


print(json.dumps(fulfill() | follow() | retry() | cancel() | register() | errors()))  # noqa: T201
