"""Scrape and query metrics in the Prometheus text format."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: Mapping[str, str]
    value: float


class Scrape:
    """All metrics of one address at one time. `helps` are their help texts, by name."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.helps = {family.name: family.documentation for family in families}
        self.samples = [
            Sample(sample.name, sample.labels, sample.value) for family in families for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def labels(self, name: str) -> set[str]:
        """Return the names of the labels that any series of this metric has."""
        return {label for sample in self.samples if sample.name == name for label in sample.labels}

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series with this name and these labels, whatever other labels they have."""
        wanted = labels.items()
        return sum(each.value for each in self.samples if each.name == name and wanted <= each.labels.items())

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return the sums of a metric by the values of one label, without those that are zero."""
        values = {each.labels[label] for each in self.samples if each.name == name}
        sums = {value: self.value(name, **{label: value}, **labels) for value in values}
        return {value: found for value, found in sums.items() if found}


async def scrape(url: str) -> Scrape:
    """Fetch the metrics at this URL."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        return Scrape((await http.get(url)).raise_for_status().text)
