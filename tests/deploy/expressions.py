"""The PromQL expressions of the alert rules and the dashboards."""

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
LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
ANNOTATION_LABEL = re.compile(r"\$labels\.(\w+)")


@dataclass
class Expression:
    """An expression with its place, and the labels that its texts show."""

    place: str
    promql: str
    shown: set[str] = field(default_factory=set)

    def parsed(self) -> promql.Expr:
        """Return its syntax tree, with Grafana's variables replaced; raises ValueError if it is not PromQL."""
        return promql.parse(re.sub(r"\$__\w+", "5m", self.promql))

    def required(self) -> Iterator[tuple[str, set[str], dict[str, str]]]:
        """Yield each metric with the labels that it must have, and the values that some labels must have."""
        yield from _required(self.parsed(), self.shown)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in DASHBOARDS}


def all_expressions() -> list[Expression]:
    """Return the expressions of all alert rules and dashboards."""
    rules = [
        Expression(rule["alert"], rule["expr"], set(ANNOTATION_LABEL.findall(" ".join(rule["annotations"].values()))))
        for rule in alerts()
    ]
    panels = [
        Expression(f"{name}: {panel['title']}", target["expr"], set(LEGEND_LABEL.findall(target["legendFormat"])))
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    return rules + panels


def _required(node: Any, labels: set[str]) -> Iterator[tuple[str, set[str], dict[str, str]]]:
    match node:
        case promql.VectorSelector():
            matchers = {matcher.name: matcher for matcher in node.matchers.matchers}
            equal = {name: m.value for name, m in matchers.items() if m.op == promql.MatchOp.Equal}
            yield node.name, labels | set(matchers), equal
        case promql.MatrixSelector():
            yield from _required(node.vector_selector, labels)
        case promql.AggregateExpr():
            by = set(node.modifier.labels) if node.modifier else set()
            yield from _required(node.expr, by)
        case promql.BinaryExpr():
            yield from _required(node.lhs, labels)
            yield from _required(node.rhs, labels)
        case promql.Call():
            for argument in node.args:
                yield from _required(argument, labels)
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            yield from _required(node.expr, labels)
