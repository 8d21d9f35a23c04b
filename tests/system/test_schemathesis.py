"""The OpenAPI document against the running API: whatever is asked, the answer is one that the document tells of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from starter.api.orders import EXAMPLE
from starter.api.workflow_examples import EXECUTE_BODIES
from starter.devstack.serving import serving
from starter.schedules.apply import apply_jobs
from tests.running_shop import running_shop
from tests.starter.api.api_client import create_api
from tests.starter.sample_jobs import NIGHTLY, delete_schedules

EXAMPLES = 40  # cases per operation
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ORDER = {"order_id": "schema-1"}
RUN = {"transaction_id": "order-processing-schema-1"}
KNOWN: dict[str, dict[str, str]] = {
    "/workflows/{transaction_id}": RUN,
    "/workflows/{transaction_id}/retry": RUN,
    "/workflows/{transaction_id}/cancel": RUN,
    "/workflows/{transaction_id}/events": RUN,
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


async def test_every_answer_is_one_that_the_document_tells_of(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker(), serving(create_api(shop), 0) as url:
        await apply_jobs(client, [NIGHTLY], key_id="a")
        await shop.data.stock("MUG", main=5)
        await shop.data.order(ORDER["order_id"], MUG=1)
        await shop.process(ORDER["order_id"])
        await asyncio.to_thread(ask_everything, url)
        await delete_schedules(client, NIGHTLY.id)


def ask_everything(url: str) -> None:
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(one_of(*cases(operation)))
        def ask(case: Case[Any]) -> None:
            answer = case.call()
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code >= 500:
                assert answer.json()["error"] == WORKFLOW_FAILED, answer.text

        ask()


def cases(operation: APIOperation[Any, Any, Any, Any]) -> Iterator[SearchStrategy[Case[Any]]]:
    """Yield what fits the document, what does not, what is known to the shop, and the document's own examples."""
    yield operation.as_strategy(GenerationMode.POSITIVE)
    if operation.body or operation.query or operation.path_parameters:
        yield operation.as_strategy(GenerationMode.NEGATIVE)
    if known := KNOWN.get(operation.path):
        yield operation.as_strategy(path_parameters=known)
    for body in BODIES.get(operation.path, []):
        yield operation.as_strategy(body=body, media_type="application/json")
