"""What the alert rules and the dashboards ask Prometheus."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import promql_parser as promql
import yaml

from tests.paths import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
SHOWN = re.compile(r"\{\{\s*(\w+)\s*\}\}")  # in a legend
TOLD = re.compile(r"\$labels\.(\w+)")  # in an annotation


@dataclass
class Asked:
    """An expression: where it stands, the labels that its texts show, and what it needs of each metric."""

    place: str
    expression: str
    shown: set[str] = field(default_factory=set)

    def parsed(self) -> promql.Expr:
        """Return its tree, with Grafana's variables replaced; raises ValueError for what is no PromQL."""
        return promql.parse(re.sub(r"\$__\w+", "5m", self.expression))

    def needs(self) -> Iterator[tuple[str, set[str], dict[str, str]]]:
        """Yield each metric with the labels that it must have, and the values that some of them must have."""
        yield from _needs(self.parsed(), self.shown)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in DASHBOARDS}


def everything() -> list[Asked]:
    """Return every expression there is."""
    rules = [
        Asked(rule["alert"], rule["expr"], set(TOLD.findall(" ".join(rule["annotations"].values()))))
        for rule in alerts()
    ]
    panels = [
        Asked(f"{name}: {panel['title']}", target["expr"], set(SHOWN.findall(target["legendFormat"])))
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    return rules + panels


def _needs(node: Any, labels: set[str]) -> Iterator[tuple[str, set[str], dict[str, str]]]:
    match node:
        case promql.VectorSelector():
            matchers = {matcher.name: matcher for matcher in node.matchers.matchers}
            equal = {name: m.value for name, m in matchers.items() if m.op == promql.MatchOp.Equal}
            yield node.name, labels | set(matchers), equal
        case promql.MatrixSelector():
            yield from _needs(node.vector_selector, labels)
        case promql.AggregateExpr():
            by = set(node.modifier.labels) if node.modifier else set()
            yield from _needs(node.expr, by)
        case promql.BinaryExpr():
            yield from _needs(node.lhs, labels)
            yield from _needs(node.rhs, labels)
        case promql.Call():
            for argument in node.args:
                yield from _needs(argument, labels)
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            yield from _needs(node.expr, labels)
