"""Send generated requests to the running API: every response conforms to the OpenAPI document."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy, one_of
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from temporalio.client import Client

from starter.api.errors import WORKFLOW_FAILED
from starter.api.order_schema import EXAMPLE
from starter.api.workflow_examples import EXECUTE_BODIES
from starter.devstack.serving import serving
from starter.schedules.apply import apply_jobs
from tests.running_shop import running_shop
from tests.starter.api.api_client import create_api
from tests.starter.sample_jobs import NIGHTLY, delete_schedules

EXAMPLES = 25  # cases per operation
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ORDER = {"order_id": "schema-1"}
PROCESS = {"transaction_id": "order-processing-schema-1"}
KNOWN_IDS: dict[str, dict[str, str]] = {
    "/workflows/{transaction_id}": PROCESS,
    "/workflows/{transaction_id}/retry": PROCESS,
    "/workflows/{transaction_id}/cancel": PROCESS,
    "/workflows/{transaction_id}/events": PROCESS,
    "/schedules/{schedule_id}/pause": {"schedule_id": NIGHTLY.id},
    "/schedules/{schedule_id}/resume": {"schedule_id": NIGHTLY.id},
    "/orders/{order_id}": ORDER,
    "/codec/{namespace}/decode": {"namespace": "default"},
    "/codec/{namespace}/encode": {"namespace": "default"},
}
BODIES: dict[str, list[Any]] = {
    "/workflows/execute": [{**body, "wait_seconds": 2} for body in EXECUTE_BODIES if isinstance(body, dict)],
    "/orders/{order_id}": [EXAMPLE],
}


# The API and the worker run in this process, and use random numbers while Hypothesis draws its own.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
async def test_every_response_conforms_to_the_openapi_document(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker(), serving(create_api(shop), 0) as url:
        await apply_jobs(client, [NIGHTLY], key_id="a")
        await shop.data.stock("MUG", main=5)
        await shop.data.order(ORDER["order_id"], MUG=1)
        await shop.process(ORDER["order_id"])
        await asyncio.to_thread(check_all_operations, url)
        await delete_schedules(client, NIGHTLY.id)


def check_all_operations(url: str) -> None:
    for parsed in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(parsed, Ok), parsed
        operation = parsed.ok()

        @settings(
            max_examples=EXAMPLES,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(one_of(*cases(operation)))
        def check(case: Case[Any]) -> None:
            response = case.call()
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 500:
                assert response.json()["error"] == WORKFLOW_FAILED, response.text

        check()


def cases(operation: APIOperation[Any, Any, Any, Any]) -> Iterator[SearchStrategy[Case[Any]]]:
    """Yield valid requests, invalid ones, ones with ids that exist in the shop, and the document's examples."""
    yield operation.as_strategy(GenerationMode.POSITIVE)
    if operation.body or operation.query or operation.path_parameters:
        yield operation.as_strategy(GenerationMode.NEGATIVE)
    if known_ids := KNOWN_IDS.get(operation.path):
        yield operation.as_strategy(path_parameters=known_ids)
    for body in BODIES.get(operation.path, []):
        yield operation.as_strategy(body=body, media_type="application/json")
