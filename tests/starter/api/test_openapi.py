"""The OpenAPI document can be worked from alone: everything is described, and its examples are true to their shapes."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from commerce.settings import load_settings
from starter.api.app import create_app
from starter.api.tokens import HEALTH_PREFIX, OPEN_PATHS
from tests.keys import ENCRYPTION_ENV

DOCUMENT: dict[str, Any] = create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every body and answer, by its name."""
    if body := operation.get("requestBody"):
        yield "body", body["content"]["application/json"]
    for status, answer in operation["responses"].items():
        yield status, next(iter(answer["content"].values()))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with what its references name."""
    return {**schema, "components": DOCUMENT["components"]}


def examples(content: dict[str, Any]) -> list[Any]:
    """Return the examples of a body or answer, or those of the model that it names."""
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    of_model = DOCUMENT["components"]["schemas"].get(name, {})
    given = [entry["example"] for entry in (content, of_model) if "example" in entry]
    return [*given, *of_model.get("examples", [])]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_route_is_described_with_examples_that_fit(operation: dict[str, Any]) -> None:
    assert operation["description"] and operation["tags"]
    for name, content in contents(operation):
        assert examples(content), f"{name} has no example"
        for example in examples(content) if "schema" in content else []:
            jsonschema_rs.validate(resolved(content["schema"]), example)
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_route_but_health_and_metrics_says_that_it_asks_for_a_token(route: str) -> None:
    is_open = HEALTH_PREFIX in route or route.removeprefix("GET ") in OPEN_PATHS
    assert ("security" not in OPERATIONS[route]) == is_open
    assert ("401" not in OPERATIONS[route]["responses"]) == is_open
