"""Alert rules and dashboards use only metrics, labels and values that a worker and an API really export."""

import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from temporalio.client import Client

from commerce.messages.carts import CleanUpCarts
from commerce.messages.tutorial import HelloWorld
from commerce.telemetry.metrics import METRICS, Metric
from starter.devstack.serving import serving
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.conftest import free_port
from tests.deploy.expressions import ALERTS, Expression, alerts, all_expressions, dashboards
from tests.paths import ROOT
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.scraping import Scrape, scrape
from tests.starter.api.api_client import create_api
from tests.system.workers import worker_processes

OPERATIONS = ROOT / "docs" / "operations.md"
PROMETHEUS_LABELS = {"job", "instance"}  # Prometheus adds them to every sample
PROMETHEUS_METRICS = {"up", "ALERTS"}
ANNOTATIONS = ("summary", "description", "runbook_url")
PROMTOOL = shutil.which("promtool")
EXPRESSIONS = all_expressions()
TIMEOUT = 60  # seconds, until all metrics are exported


class ExportedMetrics:
    """The metrics that worker and API export together."""

    def __init__(self, *scrapes: Scrape) -> None:
        self._scrapes = scrapes

    def missing_for(self, expression: Expression) -> list[str]:
        """Return what an expression uses and nothing exports."""
        return [missing for required in expression.required() for missing in self._missing(expression.place, *required)]

    def helps(self, metric: Metric) -> set[str]:
        """Return the help texts of a metric."""
        return {scraped.helps[metric.name] for scraped in self._scrapes if metric.name in scraped.helps}

    def labels(self, name: str) -> set[str]:
        return {label for scraped in self._scrapes for label in scraped.labels(name)}

    def _missing(self, place: str, name: str, labels: set[str], values: Mapping[str, str]) -> Iterator[str]:
        if name in PROMETHEUS_METRICS:
            return
        if not any(name in scraped.names for scraped in self._scrapes):
            yield f"{place}: nothing exports {name}"
        elif missing := labels - self.labels(name) - PROMETHEUS_LABELS:
            yield f"{place}: {name} has no {sorted(missing)}"
        for label, value in values.items():
            known = {
                each.labels.get(label) for scraped in self._scrapes for each in scraped.samples if each.name == name
            }
            if label not in PROMETHEUS_LABELS and value not in known:
                yield f"{place}: no {label} of {name} is {value}"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=5)
        yield made


async def cause_all_outcomes(shop: RunningShop, http: httpx.AsyncClient) -> None:
    """Cause everything that metrics count: orders with every outcome, a job, a bug, a request that fails."""
    name = uuid4().hex  # the tests share a server
    for order_id, units in ((f"{name}-1", 1), (f"{name}-2", 99), (f"{name}-3", 1)):
        await shop.data.order(order_id, MUG=units)
    await shop.process(f"{name}-1")
    await shop.process(f"{name}-2")
    await shop.inject_carrier_fault(operation="buy", fault="422")
    await shop.expect_failure(f"{name}-3")
    job = f"cleanup-expired-carts-{name}"
    await shop.client.execute_workflow("cleanup-expired-carts", CleanUpCarts(), id=job, task_queue=TASK_QUEUE)
    await http.get(f"/workflows/{name}")
    await shop.client.start_workflow(
        "hello-world", HelloWorld(name="Ann"), id=name, task_queue=TASK_QUEUE, task_timeout=timedelta(seconds=1)
    )


async def test_everything_used_is_exported(shop: RunningShop, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        worker_processes(shop, tmp_path) as workers,
        serving(create_api(shop), 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http,
    ):
        await workers.start("tests.deploy.troubled_worker", COMMERCE_METRICS_ADDRESS=address)
        await cause_all_outcomes(shop, http)

        async def all_exported() -> ExportedMetrics | None:
            exported = ExportedMetrics(await scrape(f"http://{address}/metrics"), await scrape(f"{url}/metrics"))
            return None if any(map(exported.missing_for, EXPRESSIONS)) and time.monotonic() < deadline else exported

        deadline = time.monotonic() + TIMEOUT
        exported = await until(all_exported)
    assert [missing for expression in EXPRESSIONS for missing in exported.missing_for(expression)] == []
    assert {metric.name: exported.helps(metric) for metric in METRICS} == {m.name: {m.help} for m in METRICS}
    assert {m.name: set(m.labels) - exported.labels(m.exported) for m in METRICS if m.kind != "histogram"} == {
        m.name: set() for m in METRICS if m.kind != "histogram"
    }


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.place)
def test_every_expression_is_promql(expression: Expression) -> None:
    assert expression.parsed()


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_has_its_annotations_and_a_severity(alert: dict[str, Any]) -> None:
    assert tuple(alert["annotations"]) == ANNOTATIONS
    assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
    assert alert["labels"]["severity"] in ("critical", "warning")


def test_every_alert_has_a_runbook_entry() -> None:
    headings = {line.strip("# ") for line in OPERATIONS.read_text().splitlines() if line.startswith("### ")}
    assert {alert["alert"] for alert in alerts()} - headings == set()


def test_job_alerts_cover_all_jobs() -> None:
    jobs = {kind for kind, process in PROCESS_TYPES.items() if process.is_job}
    for name in ("JobFailed", "JobMissing"):
        [rule] = [alert for alert in alerts() if alert["alert"] == name]
        assert {job for job in jobs if job in rule["expr"]} == jobs


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: apt install prometheus)")
@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")])
def test_promtool_accepts_rules_and_tests(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([PROMTOOL or "", *arguments], cwd=ALERTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((ALERTS.parent / "alerts.test.yml").read_text())["tests"]
    tried = [(case["alertname"], bool(case.get("exp_alerts"))) for test in tests for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}
    assert {name for name, fires in tried if fires} == {name for name, fires in tried if not fires} == names


@pytest.mark.parametrize(("name", "dashboard"), dashboards().items(), ids=dashboards())
def test_a_dashboard_is_portable_and_complete(name: str, dashboard: dict[str, Any]) -> None:
    assert dashboard["uid"] == f"commerce-{name.removesuffix('.json')}" and dashboard["id"] is None
    assert [variable["type"] for variable in dashboard["templating"]["list"]] == ["datasource"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
    cells = [cell for panel in panels for cell in cells_of(panel["gridPos"])]
    assert len(cells) == len(set(cells)), "panels overlap"


def cells_of(place: dict[str, int]) -> list[tuple[int, int]]:
    return [
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    ]
