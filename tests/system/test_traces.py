"""What happens to an order is one tree of spans, from the request to the SQL, whatever is killed or away meanwhile."""

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

SECONDS = 30
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
LISTENS = "The API listens on"
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
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=50)
        yield made


@pytest.fixture
async def collector() -> AsyncIterator[TraceCollector]:
    async with trace_collector() as made:
        yield made


@pytest.fixture
async def workers(shop: RunningShop, tmp_path: Path, collector: TraceCollector) -> AsyncIterator[WorkerProcesses]:
    async with worker_processes(
        shop, tmp_path / "workers", COMMERCE_TRACES_URL=collector.url, COMMERCE_TRACES_SAMPLED="1"
    ) as made:
        yield made


@pytest.fixture
def order_id(shop: RunningShop) -> str:
    """An id of this test alone: the tests share a Temporal server."""
    return shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]


async def api_of(workers: WorkerProcesses) -> str:
    """Start the API, and return its URL."""
    port = free_port()
    api = await workers.start("starter.api", says=LISTENS, COMMERCE_API_PORT=str(port))
    await wait_until(lambda: answers(port), SECONDS, api.log_tail)
    return f"http://127.0.0.1:{port}"


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


async def trace_of(collector: TraceCollector, order_id: str, complete: Callable[[Trace], bool]) -> Trace:
    """Return an order's trace as soon as it is complete."""

    def found() -> Trace | None:
        return collector.trace_with("order-processing", order_process_id(order_id))

    def told() -> str:
        return "\n".join(" / ".join(trace.path(span)) for trace in [found()] if trace for span in trace.spans)

    await wait_until(lambda: (trace := found()) is not None and complete(trace), SECONDS, told)
    trace = found()
    assert trace
    return trace


def whole(trace: Trace) -> bool:
    return len(trace.roots()) == 1 and not trace.roots()[0].parent


def log_lines(worker: WorkerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.log_text().splitlines() if line.startswith("{")]


async def test_an_order_is_one_tree_from_the_request_to_the_sql(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    worker, url = await workers.start(), await api_of(workers)
    await shop.data.order(order_id, MUG=1)
    request = {"workflow_id": "order-processing", "input": {"order_id": order_id}}
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http:
        answer = await http.post("/workflows/execute", json=request, params={"about": "ann@customer.example"})
        await http.get("/health/ready")
    assert answer.json()["result"]["status"] == "fulfilled"

    trace = await trace_of(collector, order_id, whole)
    above = ["POST /workflows/execute", "start order-processing", "order-processing"]
    assert [trace.path(*trace.named(step)) for step in STEPS] == [[*above, step] for step in STEPS]
    services = {trace.roots()[0].service, *(span.service for name in above[1:2] for span in trace.named(name))}
    assert services == {"commerce-api"}
    assert {span.service for step in STEPS for span in trace.named(step)} == {"commerce-worker"}
    assert all(any(part.is_sql for part in trace.below(*trace.named(step))) for step in STEPS)
    calls = [part.about for part in trace.below(*trace.named("create-shipping-label")) if part.is_call]
    assert calls and {call["server.address"] for call in calls} == {"127.0.0.1"}
    assert trace.roots()[0].about["http.route"] == "/workflows/execute"
    assert not any(span.error is not None for span in trace.spans)

    seen = {line.get("trace_id") for line in log_lines(worker) if line["event"] == "step done"}
    assert seen == {trace.roots()[0].trace_id}
    assert all("health" not in span.name for span in collector.spans)


async def test_an_event_goes_on_with_the_trace_of_the_request_that_wrote_it(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await workers.start()
    url = await api_of(workers)
    async with (
        webhook_receiver() as receiver,
        httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http,
    ):
        receiver.secret = (await shop.data.call(webhooks.add, receiver.url)).secret
        assert (await http.put(f"/orders/{order_id}", json=ORDER)).status_code == 201

        def complete(trace: Trace) -> bool:
            return whole(trace) and len(trace.named("deliver-webhook")) == 2

        trace = await trace_of(collector, order_id, complete)
    above = ["PUT /orders/{order_id}", "start order-processing", "order-processing"]
    assert [trace.path(*trace.named(step)) for step in STEPS] == [[*above, step] for step in STEPS]
    paths = sorted(trace.path(delivery) for delivery in trace.named("deliver-webhook"))
    placed, fulfilled = ["start deliver-webhook", "deliver-webhook"], ["start deliver-webhook", "deliver-webhook"]
    assert paths == [[above[0], *placed], [*above, *fulfilled]]
    told = {event["type"]: event["traceparent"].split("-") for event in receiver.took}
    assert {trace_id for _, trace_id, *_ in told.values()} == {trace.roots()[0].trace_id}
    assert told["com.shop.order.placed"][2] == trace.roots()[0].id
    assert told["com.shop.order.fulfilled"][2] == trace.named("order-processing")[0].id


async def test_an_undone_order_shows_what_failed_and_what_was_undone(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await workers.start()
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
    await shop.expect_failure(order_id)

    trace = await trace_of(collector, order_id, whole)
    [process], [label] = trace.named("order-processing"), trace.named("create-shipping-label")
    assert label.error and process.error == label.error and label.error.startswith("CarrierRefused: ")
    assert all(trace.path(*trace.named(undo)) == ["order-processing", undo] for undo in UNDOS)


async def test_a_run_that_is_retried_belongs_to_the_request_for_that(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
        await shop.expect_failure(order_id)
    await shop.clear_carrier_faults()
    await workers.start()
    url = await api_of(workers)
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http:
        asked = await http.post(f"/workflows/{order_process_id(order_id)}/retry", json={"reason": "mended"})
    assert asked.status_code == 202, asked.text

    trace = await trace_of(collector, order_id, whole)
    [process] = trace.named("order-processing")
    assert trace.path(process) == ["POST /workflows/{transaction_id}/retry", "order-processing"]


async def test_a_worker_killed_amid_a_step_leaves_one_tree(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    doomed = await workers.start_pausing({order_id: "create-shipping-label after-buy"})
    await shop.start(order_id)
    await workers.wait_until_hanging(order_id)
    await wait_until(
        lambda: any(span.name == "create-fulfillment" for span in collector.spans), SECONDS, doomed.log_tail
    )
    await doomed.kill()
    await workers.start()
    await wait_for_end(shop.handle(order_id))

    trace = await trace_of(collector, order_id, whole)
    assert Counter(span.name for span in trace.spans if not (span.is_sql or span.is_call)) == Counter(
        ["order-processing", *STEPS]
    )
    assert trace.named("create-fulfillment")[0].parent == trace.roots()[0].id
    assert trace.named("create-shipping-label")[0].about["attempt"] == 2


@pytest.mark.parametrize("listens", [False, True])
async def test_orders_go_on_while_the_collector_is_away(
    shop: RunningShop, workers: WorkerProcesses, order_id: str, *, listens: bool
) -> None:
    """Nobody listens, or somebody does and never answers: it is told once, and holds up no end."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        worker = await workers.start(COMMERCE_TRACES_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
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


async def test_a_part_of_none_keeps_none(
    shop: RunningShop, workers: WorkerProcesses, collector: TraceCollector, order_id: str
) -> None:
    worker = await workers.start(COMMERCE_TRACES_SAMPLED="0")
    await shop.data.order(order_id, MUG=1)
    assert (await shop.process(order_id)).status == "fulfilled"
    await worker.stop()
    assert collector.bodies == []
    assert all("trace_id" not in line for line in log_lines(worker))


async def test_off_there_is_nothing(
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


def test_off_nothing_of_the_sdk_is_loaded() -> None:
    """Who does not trace does not wait for it to load, `commerce --help` least of all."""
    loaded = "print(*(name for name in sys.modules if name.startswith('opentelemetry')))"

    def after(module: str) -> list[str]:
        command = [sys.executable, "-c", f"import sys, {module}; {loaded}"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert after("starter.cli.app") == []
    assert not any(name.startswith("opentelemetry.sdk") for name in after("worker, starter.api.app"))
