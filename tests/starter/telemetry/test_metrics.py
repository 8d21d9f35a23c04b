"""The metrics of a program: counters start at zero, address errors are clear, docs/metrics.md lists every metric."""

import re

import pytest

from commerce.errors import SettingsError
from commerce.outbox import EVENT_NAMES
from commerce.telemetry.metrics import METRICS, Metric
from starter.processes import PROCESS_TYPES
from starter.telemetry.metrics import create_runtime, event_counter, zero_counters
from tests.conftest import free_port
from tests.paths import ROOT
from tests.scraping import scrape

DOCUMENT = ROOT / "docs" / "metrics.md"


def test_an_address_in_use_is_a_one_line_error() -> None:
    address = f"127.0.0.1:{free_port()}"
    first = create_runtime(address)
    with pytest.raises(SettingsError) as refused:
        create_runtime(address)
    assert str(refused.value) == (
        f"COMMERCE_METRICS_ADDRESS: cannot listen on {address}: Address already in use (os error 98)"
    )
    assert first.metric_meter


async def test_counters_start_at_zero() -> None:
    address = f"127.0.0.1:{free_port()}"
    runtime = create_runtime(address)  # serves metrics as long as it is referenced
    zero_counters(runtime.metric_meter, "default")
    event_counter(runtime.metric_meter)({"order.placed": 2})
    metrics = await scrape(f"http://{address}/metrics")
    runs = [sample for sample in metrics.samples if sample.name == "commerce_runs_total"]
    assert {sample.labels["workflow_type"] for sample in runs} == set(PROCESS_TYPES)
    assert {sample.value for sample in runs} == {0}
    assert len([sample for sample in metrics.samples if sample.name == "commerce_events_published_total"]) == len(
        EVENT_NAMES
    )
    assert metrics.by("type", "commerce_events_published_total") == {"order.placed": 2}


def test_docs_list_exactly_our_metrics() -> None:
    section = DOCUMENT.read_text().partition("## Metrics of the shop")[2].partition("\n## ")[0]
    documented = {row[0]: row[1:] for row in re.findall(r"\| `(\w+)` \| (\w+) \| (.+?) \| (.+) \|", section)}
    assert documented == {
        metric.exported: (metric.kind, ", ".join(f"`{label}`" for label in metric.labels) or "–", metric.help)
        for metric in METRICS
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.exported)
def test_names_and_help_texts_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"commerce(_[a-z]+)+", metric.name) and not metric.name.endswith("_total")
    assert not re.search(r"_(ms|s|sec|milliseconds|minutes)$", metric.name)
    assert metric.help[0].isupper() and not metric.help.endswith(".") and "\n" not in metric.help
