"""The tables and charts of `benchmarks/compare.py`, as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

PARTS = ("client", "worker", "app", "server", "temporal", "postgres", "carrier", "mail")


@dataclass(frozen=True)
class Figures:
    """What one engine has used in one round, per order; `cpu` is milliseconds per process."""

    cpu: Mapping[str, float]
    rate: float  # orders per second
    milliseconds: float  # from start to result, median
    wal_kilobytes: float
    events: int

    @property
    def total_cpu(self) -> float:
        """CPU milliseconds of all processes."""
        return sum(self.cpu.values())

    def short(self) -> str:
        """Return the figures in one line."""
        parts = " ".join(f"{name} {value:.1f}" for name, value in self.cpu.items())
        return f"{self.total_cpu:.1f} ms CPU ({parts}), {self.rate:.1f}/s, {self.milliseconds:.0f} ms"


class Statements(NamedTuple):
    """What one engine asks the database for, per order."""

    transactions: float
    others: float  # statements besides those that begin and end transactions


Rounds = Mapping[int, Sequence[Figures]]  # by orders in flight


def render(engines: Mapping[str, Rounds], statements: Mapping[str, Statements]) -> str:
    """Return the report: CPU, rates, times and use of the database, then CPU per process."""
    counts = list(next(iter(engines.values())))
    tables = [*_cost(engines, statements, counts), "", *_processes(engines, counts), ""]
    return "\n".join([*tables, *_chart(engines, counts)]) + "\n"


def _cost(engines: Mapping[str, Rounds], statements: Mapping[str, Statements], counts: Sequence[int]) -> list[str]:
    flight = " / ".join(str(count) for count in counts)
    rows = [
        f"| | CPU ms per order at {flight} in flight | orders/s at {flight} | one order, ms |"
        " transactions | statements | WAL kB | history events |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds in engines.items():
        cpu = " / ".join(f"{_median(rounds[count], lambda f: f.total_cpu):.0f}" for count in counts)
        rate = " / ".join(f"{_median(rounds[count], lambda f: f.rate):.0f}" for count in counts)
        alone, busy = rounds[counts[0]], rounds[counts[-1]]
        counted = statements[name]
        rows.append(
            f"| {name} | {cpu} | {rate} | {_median(alone, lambda f: f.milliseconds):.0f} |"
            f" {counted.transactions:.1f} | {counted.others:.1f} |"
            f" {_median(busy, lambda f: f.wal_kilobytes):.1f} | {max(f.events for f in busy) or '–'} |"
        )
    return rows


def _processes(engines: Mapping[str, Rounds], counts: Sequence[int]) -> list[str]:
    count = 20 if 20 in counts else counts[-1]
    rows = [f"| CPU ms per order at {count} in flight | {' | '.join(PARTS)} |", "| --- " * (len(PARTS) + 1) + "|"]
    for name, rounds in engines.items():
        cells = []
        for part in PARTS:
            values = [figures.cpu[part] for figures in rounds[count] if part in figures.cpu]
            cells.append(f"{median(values):.1f}" if values else "–")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _chart(engines: Mapping[str, Rounds], counts: Sequence[int]) -> list[str]:
    count = 20 if 20 in counts else counts[-1]
    values = [f"{_median(rounds[count], lambda f: f.total_cpu):.0f}" for rounds in engines.values()]
    names = [f'"{name}"' for name in engines]
    return [
        "```mermaid",
        "xychart-beta horizontal",
        f'    title "CPU milliseconds per order, {count} in flight"',
        f"    x-axis [{', '.join(names)}]",
        f"    bar [{', '.join(values)}]",
        "```",
    ]


def _median(rounds: Sequence[Figures], value: Callable[[Figures], float]) -> float:
    return median(value(figures) for figures in rounds)
