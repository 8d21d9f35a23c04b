"""An order is one trace from the HTTP request to the SQL, even if its worker is killed; tracing never delays it."""

import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from commerce import webhooks
from commerce.messages.orders import order_process_id
from tests.conftest import free_port
from tests.paths import ROOT
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.system.workers import WorkerProcess, WorkerProcesses, wait_until, worker_processes
from tests.trace_collector import Trace, TraceCollector, trace_collector
from tests.webhook_receiver import webhook_receiver

pytestmark = pytest.mark.waits(8)

SECONDS = 120
STEPS = [
    "validate-order",
    "check-inventory",
    "reserve-inventory",
    "create-fulfillment",
    "create-shipping-label",
    "complete-order",
    "send-notification",
]
UNDOS = ["void-shipping-label", "cancel-fulfillment", "release-inventory"]
API_READY = "The API listens on"
ORDER: dict[str, Any] = {
    "email": "ann@customer.example",
    "financial_status": "paid",
    "paid_at": "2026-03-02T12:00:05Z",
    "currency": "GBP",
    "shipping_method": "Standard",
    "created_at": "2026-03-02T12:00:00Z",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "shipping_country": "GB",
    "lines": [{"quantity": 1, "name": "Mug", "price": "12.50", "sku": "MUG", "requires_shipping": True}],
}


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.stock("MUG", main=50)
        yield running


@pytest.fixture
async def collector() -> AsyncIterator[TraceCollector]:
    async with trace_collector() as running:
        yield running


@pytest.fixture
async def workers(shop: RunningShop, tmp_path: Path, collector: TraceCollector) -> AsyncIterator[WorkerProcesses]:
    async with worker_processes(
        shop, tmp_path / "workers", COMMERCE_TRACES_URL=collector.url, COMMERCE_TRACES_SAMPLED="1"
    ) as running:
        yield running


@pytest.fixture
def order_id(shop: RunningShop) -> str:
    """An order id that no other test uses: the tests share a Temporal server."""
    return shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]


async def start_api(workers: WorkerProcesses) -> str:
    """Start the API; return its URL."""
    port = free_port()
    api = await workers.start("starter.api", ready_text=API_READY, COMMERCE_API_PORT=str(port))
    await wait_until(lambda: accepts_connections(port), SECONDS, api.log_tail)
    return f"http://127.0.0.1:{port}"


def accepts_connections(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


async def wait_for_trace(collector: TraceCollector, order_id: str, complete: Callable[[Trace], bool]) -> Trace:
    """Wait until an order's trace is complete, and return it."""

    def found() -> Trace | None:
        return collector.trace_with("order-processing", order_process_id(order_id))

    def describe() -> str:
        return "\n".join(" / ".join(trace.path(span)) for trace in [found()] if trace for span in trace.spans)

    await wait_until(lambda: (trace := found()) is not None and complete(trace), SECONDS, describe)
    trace = found()
    assert trace
    return trace


def is_one_tree(trace: Trace) -> bool:
    return len(trace.roots()) == 1 and not trace.roots()[0].parent


def log_lines(worker: WorkerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.log_text().splitlines() if line.startswith("{")]


async def test_an_order_is_one_trace_from_the_http_request_to_the_sql(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    worker, url = await workers.start(), await start_api(workers)
    await shop.data.order(order_id, MUG=1)
    request = {"workflow_id": "order-processing", "input": {"order_id": order_id}}
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http:
        answer = await http.post("/workflows/execute", json=request, params={"about": "ann@customer.example"})
        await http.get("/health/ready")
    assert answer.json()["result"]["status"] == "fulfilled"

    trace = await wait_for_trace(collector, order_id, is_one_tree)
    parents = ["POST /workflows/execute", "start order-processing", "order-processing"]
    assert [trace.path(*trace.named(step)) for step in STEPS] == [[*parents, step] for step in STEPS]
    services = {trace.roots()[0].service, *(span.service for name in parents[1:2] for span in trace.named(name))}
    assert services == {"commerce-api"}
    assert {span.service for step in STEPS for span in trace.named(step)} == {"commerce-worker"}
    assert all(any(part.is_sql for part in trace.children(*trace.named(step))) for step in STEPS)
    calls = [part.attributes for part in trace.children(*trace.named("create-shipping-label")) if part.is_http_call]
    assert calls and {call["server.address"] for call in calls} == {"127.0.0.1"}
    assert trace.roots()[0].attributes["http.route"] == "/workflows/execute"
    assert not any(span.error is not None for span in trace.spans)

    trace_ids = {line.get("trace_id") for line in log_lines(worker) if line["event"] == "step done"}
    assert trace_ids == {trace.roots()[0].trace_id}
    assert all("health" not in span.name for span in collector.spans)


async def test_an_event_continues_the_trace_of_the_request_that_wrote_it(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await workers.start()
    url = await start_api(workers)
    async with (
        webhook_receiver() as receiver,
        httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http,
    ):
        receiver.secret = (await shop.data.call(webhooks.add, receiver.url)).secret
        assert (await http.put(f"/orders/{order_id}", json=ORDER)).status_code == 201

        def complete(trace: Trace) -> bool:
            return is_one_tree(trace) and len(trace.named("deliver-webhook")) == 2

        trace = await wait_for_trace(collector, order_id, complete)
    parents = ["PUT /orders/{order_id}", "start order-processing", "order-processing"]
    assert [trace.path(*trace.named(step)) for step in STEPS] == [[*parents, step] for step in STEPS]
    paths = sorted(trace.path(delivery) for delivery in trace.named("deliver-webhook"))
    placed, fulfilled = ["start deliver-webhook", "deliver-webhook"], ["start deliver-webhook", "deliver-webhook"]
    assert paths == [[parents[0], *placed], [*parents, *fulfilled]]
    traceparents = {event["type"]: event["traceparent"].split("-") for event in receiver.accepted}
    assert {trace_id for _, trace_id, *_ in traceparents.values()} == {trace.roots()[0].trace_id}
    assert traceparents["com.shop.order.placed"][2] == trace.roots()[0].id
    assert traceparents["com.shop.order.fulfilled"][2] == trace.named("order-processing")[0].id


async def test_the_trace_of_an_undone_order_shows_the_failed_step_and_the_undos(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await workers.start()
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
    await shop.expect_failure(order_id)

    trace = await wait_for_trace(collector, order_id, is_one_tree)
    [process], [label] = trace.named("order-processing"), trace.named("create-shipping-label")
    assert label.error and process.error == label.error and label.error.startswith("CarrierRefused: ")
    assert all(trace.path(*trace.named(undo)) == ["order-processing", undo] for undo in UNDOS)


async def test_a_retried_run_belongs_to_the_trace_of_the_retry_request(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
        await shop.expect_failure(order_id)
    await shop.clear_carrier_faults()
    await workers.start()
    url = await start_api(workers)
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http:
        response = await http.post(f"/workflows/{order_process_id(order_id)}/retry", json={"reason": "fixed"})
    assert response.status_code == 202, response.text

    trace = await wait_for_trace(collector, order_id, is_one_tree)
    [process] = trace.named("order-processing")
    assert trace.path(process) == ["POST /workflows/{transaction_id}/retry", "order-processing"]


@pytest.mark.waits(30)
async def test_an_order_is_one_trace_when_the_worker_is_killed_during_a_step(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    first = await workers.start_pausing({order_id: "create-shipping-label after-buy"})
    await shop.start(order_id)
    await workers.wait_until_hanging(order_id)
    await wait_until(
        lambda: any(span.name == "create-fulfillment" for span in collector.spans), SECONDS, first.log_tail
    )
    await first.kill()
    await workers.start()
    await wait_for_end(shop.handle(order_id))

    trace = await wait_for_trace(collector, order_id, is_one_tree)
    assert Counter(span.name for span in trace.spans if not (span.is_sql or span.is_http_call)) == Counter(
        ["order-processing", *STEPS]
    )
    assert trace.named("create-fulfillment")[0].parent == trace.roots()[0].id
    assert trace.named("create-shipping-label")[0].attributes["attempt"] == 2


@pytest.mark.parametrize("listens", [False, True])
async def test_orders_are_processed_while_the_collector_is_unreachable(
    shop: RunningShop, workers: WorkerProcesses, order_id: str, *, listens: bool
) -> None:
    """No collector listens, or it never answers: the worker warns once, and stopping it is not delayed."""
    with socket.socket() as silent_collector:
        silent_collector.bind(("127.0.0.1", 0))
        if listens:
            silent_collector.listen()
        worker = await workers.start(
            COMMERCE_TRACES_URL=f"http://127.0.0.1:{silent_collector.getsockname()[1]}/v1/traces"
        )
        await shop.data.order(order_id, MUG=1)
        assert (await shop.process(order_id)).status == "fulfilled"
        await wait_until(lambda: "traces are lost" in worker.log_text(), SECONDS, worker.log_tail)
        await shop.data.order(f"{order_id}-2", MUG=1)
        assert (await shop.process(f"{order_id}-2")).status == "fulfilled"
        code, _ = await worker.stop()
    assert code == 0 and "worker stopped" in worker.log_text()
    assert [line["event"] for line in log_lines(worker) if line["level"] == "warning"] == [
        "traces are lost: the collector does not accept them"
    ]


async def test_no_span_is_sent_when_no_trace_is_sampled(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    worker = await workers.start(COMMERCE_TRACES_SAMPLED="0")
    await shop.data.order(order_id, MUG=1)
    assert (await shop.process(order_id)).status == "fulfilled"
    await worker.stop()
    assert collector.bodies == []
    assert all("trace_id" not in line for line in log_lines(worker))


async def test_nothing_is_traced_without_a_collector_url(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    worker = await workers.start(COMMERCE_TRACES_URL="")
    await shop.data.order(order_id, MUG=1)
    assert (await shop.process(order_id)).status == "fulfilled"
    await worker.stop()
    assert collector.bodies == []
    assert all("trace_id" not in line for line in log_lines(worker))
    events = (await shop.handle(order_id).fetch_history()).events
    assert not any(event.activity_task_scheduled_event_attributes.header.fields for event in events)
    assert await shop.data.sql("SELECT DISTINCT traceparent FROM outbox_events") == [None]


def test_the_opentelemetry_sdk_is_not_imported_when_traces_are_off() -> None:
    """Importing the SDK takes time that programs without traces, above all `commerce --help`, must not spend."""
    print_loaded = "print(*(name for name in sys.modules if name.startswith('opentelemetry')))"

    def loaded_by(module: str) -> list[str]:
        command = [sys.executable, "-c", f"import sys, {module}; {print_loaded}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert loaded_by("starter.cli.app") == []
    assert not any(name.startswith("opentelemetry.sdk") for name in loaded_by("worker, starter.api.app"))
