"""The OpenAPI document is complete: everything is described, and the examples match their schemas."""

import json
from collections.abc import Iterator
from inspect import getmembers, isclass
from typing import Any

import jsonschema_rs
import pytest

from commerce import errors
from starter.api.error_codes import ErrorCode
from starter.api.tokens import HEALTH_PREFIX, OPEN_PATHS, SIGNED_PATHS
from tests.starter.api.api_client import openapi_document

DOCUMENT = openapi_document()
LIMITS = {
    "string": {"maxLength", "enum", "const", "pattern", "format"},  # the only formats are those of dates
    "array": {"maxItems"},
    "integer": {"maximum", "exclusiveMaximum"},
}
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


SCHEMAS = DOCUMENT["components"]["schemas"]


def referred(part: Any) -> set[str]:
    """Return the names of the schemas that a part of the document refers to, also through other schemas."""
    text = json.dumps(part)
    names = {name for name in SCHEMAS if f'"#/components/schemas/{name}"' in text}
    return names.union(*(referred(SCHEMAS[name]) for name in names))


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the content of the request body and of every response, by `body` or status."""
    if body := operation.get("requestBody"):
        yield "body", body["content"]["application/json"]
    for status, response in operation["responses"].items():
        if status != "204":
            yield status, next(iter(response["content"].values()))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the components that it refers to."""
    return {**schema, "components": DOCUMENT["components"]}


def examples(content: dict[str, Any]) -> list[Any]:
    """Return the examples of a body or response, or those of its model."""
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    model = DOCUMENT["components"]["schemas"].get(name, {})
    single = [entry["example"] for entry in (content, model) if "example" in entry]
    several = [example["value"] for example in content.get("examples", {}).values()]
    return [*single, *several, *model.get("examples", [])]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_route_is_described_with_valid_examples(operation: dict[str, Any]) -> None:
    assert operation["description"] and operation["tags"]
    for name, content in contents(operation):
        assert examples(content), f"{name} has no example"
        for example in examples(content) if "schema" in content else []:
            jsonschema_rs.validate(resolved(content["schema"]), example)
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]


def test_operation_ids_are_names_of_functions() -> None:
    """Generators name a client's functions after them, so they do not change."""
    assert {route: operation["operationId"] for route, operation in OPERATIONS.items()} == {
        "POST /workflows/execute": "execute_workflow",
        "GET /workflows": "list_workflows",
        "GET /workflows/{transaction_id}": "get_workflow",
        "GET /workflows/{transaction_id}/events": "follow_workflow",
        "POST /workflows/{transaction_id}/retry": "retry_workflow",
        "POST /workflows/{transaction_id}/cancel": "cancel_workflow",
        "POST /workflows/{transaction_id}/dismiss": "dismiss_workflow",
        "POST /workflows/retry": "retry_workflows",
        "POST /workflows/cancel": "cancel_workflows",
        "POST /workflows/{transaction_id}/steps/{step}/{answer}": "answer_step",
        "GET /schedules": "list_schedules",
        "POST /schedules/{schedule_id}/trigger": "trigger_schedule",
        "POST /schedules/{schedule_id}/pause": "pause_schedule",
        "POST /schedules/{schedule_id}/resume": "resume_schedule",
        "POST /schedules/{schedule_id}/backfill": "backfill_schedule",
        "GET /orders": "list_orders",
        "GET /orders/{order_id}": "get_order",
        "PATCH /orders/{order_id}": "correct_order",
        "POST /orders/{order_id}/cancel": "cancel_order",
        "PUT /orders/{order_id}": "put_order",
        "POST /orders/{order_id}/returns": "start_return",
        "GET /orders/{order_id}/returns": "list_returns_of_order",
        "GET /returns": "list_returns",
        "GET /returns/{return_id}": "get_return",
        "POST /returns/{return_id}/receipt": "receive_return",
        "GET /stock": "list_stock",
        "GET /stock/movements": "list_stock_movements",
        "GET /notifications": "list_notifications",
        "POST /notifications/{key}/resend": "resend_notification",
        "GET /events": "list_events",
        "GET /locations": "list_all_locations",
        "PATCH /locations/{location}": "change_location",
        "GET /products/unlinked": "list_unlinked_lines",
        "POST /products/link": "link_lines",
        "GET /intake/unusable": "list_unusable_webhooks",
        "POST /intake/unusable/retry": "retry_unusable_webhooks",
        "GET /stock/item": "get_stock_item",
        "POST /stock/set": "set_stock_level",
        "GET /notifications/{key}": "get_notification",
        "GET /customers": "list_all_customers",
        "GET /customers/{customer_id}": "get_customer",
        "GET /reports": "list_daily_figures",
        "GET /reports.csv": "export_daily_figures",
        "GET /webhooks": "list_webhooks",
        "POST /webhooks": "add_webhook",
        "DELETE /webhooks/{webhook_id}": "remove_webhook",
        "POST /webhooks/{webhook_id}/test": "test_webhook",
        "GET /webhooks/{webhook_id}/deliveries": "list_deliveries",
        "POST /intake/shopify": "receive_shopify_order",
        "POST /intake/woocommerce": "receive_woocommerce_order",
        "POST /intake/warehouse": "receive_pick",
        "POST /customers/export": "export_customer",
        "POST /customers/forget": "forget_customer",
        "GET /exports/fulfillments": "export_fulfillments",
        "GET /workflow": "greet",
        "POST /codec/{namespace}/encode": "encode_payloads",
        "POST /codec/{namespace}/decode": "decode_payloads",
        "GET /health/live": "get_liveness",
        "GET /health/ready": "get_readiness",
        "GET /metrics": "get_metrics",
    }


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_success_with_a_json_body_has_a_schema(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        for content_type, content in response.get("content", {}).items():
            assert "schema" in content or content_type == "text/event-stream", status


def test_fields_of_a_request_with_a_default_are_optional_for_every_generator() -> None:
    """Some generators make a field with a `default` required, because they take requests for responses."""
    for operation in OPERATIONS.values():
        for name in referred(operation.get("requestBody", {})):
            model = SCHEMAS[name]
            assert not any("default" in field for field in model["properties"].values()), name
    required = {name: model.get("required", []) for name, model in SCHEMAS.items()}
    assert required["Execute"] == ["workflow_id"] and required["Reason"] == []
    assert required["PlacedLine"] == ["quantity", "price"]
    assert not OPERATIONS["POST /workflows/{transaction_id}/cancel"].get("requestBody", {}).get("required", False)


def test_fields_of_a_response_are_required_except_those_of_an_error() -> None:
    for operation in OPERATIONS.values():
        for name in referred(operation["responses"]) - {"Problem"}:
            model = SCHEMAS[name]
            assert set(model.get("properties", {})) == set(model.get("required", [])), name
    assert SCHEMAS["Problem"]["required"] == ["error", "code"]


def test_lengths_are_those_that_the_shop_enforces() -> None:
    fields = SCHEMAS["PlacedOrder"]["properties"]
    lengths = {name: field["anyOf"][0].get("maxLength") for name, field in fields.items() if "anyOf" in field}
    assert lengths["shipping_phone"] == lengths["shipping_zip"] == lengths["shipping_method"] == 255
    assert lengths["shipping_name"] == lengths["shipping_address1"] == 1_000


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_route_but_health_and_metrics_documents_its_token_or_signature(route: str) -> None:
    is_public = HEALTH_PREFIX in route or route.removeprefix("GET ") in OPEN_PATHS
    is_signed = route.removeprefix("POST ") in SIGNED_PATHS
    assert ("security" not in OPERATIONS[route]) == (is_public or is_signed)
    assert ("401" not in OPERATIONS[route]["responses"]) == is_public


def test_error_codes_are_one_enum_that_every_error_refers_to() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["ErrorCode"]["enum"] == list(ErrorCode)
    assert schemas["Problem"]["properties"]["code"] == {"$ref": "#/components/schemas/ErrorCode"}
    assert "code" in schemas["Problem"]["required"]
    for operation in OPERATIONS.values():
        for response in (response for status, response in operation["responses"].items() if int(status) >= 400):
            assert list(response["content"]) == ["application/json"]
            assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_error_that_a_caller_may_get_has_a_code() -> None:
    classes = {error for _, error in getmembers(errors, isclass) if issubclass(error, errors.CommerceError)}
    bases = {base for error in classes for base in error.__mro__[1:]}
    raised = {error.__name__ for error in classes - bases}
    raised |= {
        "CarrierUnavailable",
        "MailUnavailable",
        "PaymentUnavailable",
        "WarehouseUnavailable",
    }  # about one item; their subclasses are about the whole service
    # Only commands and the relay raise these.
    assert raised - set(ErrorCode) == {"OrderNotRead", "UnreadableFile"}
    assert set(ErrorCode) - raised == {
        *(
            "BadRequest",
            "BodyTooLarge",
            "ForeignPage",
            "HostNotAllowed",
            "InternalError",
            "InvalidPayloads",
            "MethodNotAllowed",
            "MetricsUnavailable",
        ),
        *("NamespaceNotFound", "NotFound", "NotReady", "RequestTimeout", "RoleRequired", "TooManyConnections"),
        "TooManyRequests",
        *("Unauthorized", "UnknownWorkflow"),
    }


def unlimited(schema: dict[str, Any], path: str, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of strings, arrays and integers of a schema that may be as large as the caller likes."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        if name not in seen:
            yield from unlimited(DOCUMENT["components"]["schemas"][name], path, (*seen, name))
        return
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from unlimited(alternative, path, seen)
    limits = LIMITS.get(schema.get("type", ""))
    if limits and limits.isdisjoint(schema):
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from unlimited(inner, f"{path}.{name}", seen)
    if "items" in schema:
        yield from unlimited(schema["items"], f"{path}[]", seen)


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_field_of_a_body_has_a_limit(route: str) -> None:
    bodies = [content["schema"] for name, content in contents(OPERATIONS[route]) if name == "body"]
    assert [path for schema in bodies for path in unlimited(schema, "")] == []
