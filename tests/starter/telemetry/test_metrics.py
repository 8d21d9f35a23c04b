"""What serves metrics: it begins at zero, says what is wrong with its address, and docs/metrics.md tells all of it."""

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


def test_an_address_in_use_is_told_in_one_line() -> None:
    address = f"127.0.0.1:{free_port()}"
    first = create_runtime(address)
    with pytest.raises(SettingsError) as refused:
        create_runtime(address)
    assert str(refused.value) == (
        f"COMMERCE_METRICS_ADDRESS: cannot listen on {address}: Address already in use (os error 98)"
    )
    assert first.metric_meter


async def test_counters_begin_at_zero_and_say_what_they_are() -> None:
    address = f"127.0.0.1:{free_port()}"
    measured = create_runtime(address)  # it serves for as long as somebody has it
    zero_counters(measured.metric_meter, "default")
    event_counter(measured.metric_meter)({"order.placed": 2})
    told = await scrape(f"http://{address}/metrics")
    runs = [sample for sample in told.samples if sample.name == "commerce_runs_total"]
    assert {sample.labels["workflow_type"] for sample in runs} == set(PROCESS_TYPES)
    assert {sample.value for sample in runs} == {0}
    assert len([sample for sample in told.samples if sample.name == "commerce_events_published_total"]) == len(EVENT_NAMES)
    assert told.by("type", "commerce_events_published_total") == {"order.placed": 2}


def test_every_metric_of_ours_is_documented_and_none_else() -> None:
    section = DOCUMENT.read_text().partition("## Metrics of the shop")[2].partition("\n## ")[0]
    documented = {row[0]: row[1:] for row in re.findall(r"\| `(\w+)` \| (\w+) \| (.+?) \| (.+) \|", section)}
    assert documented == {
        metric.exported: (metric.kind, ", ".join(f"`{label}`" for label in metric.labels) or "–", metric.help)
        for metric in METRICS
    }


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.exported)
def test_names_and_texts_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"commerce(_[a-z]+)+", metric.name) and not metric.name.endswith("_total")
    assert not re.search(r"_(ms|s|sec|milliseconds|minutes)$", metric.name)
    assert metric.help[0].isupper() and not metric.help.endswith(".") and "\n" not in metric.help
