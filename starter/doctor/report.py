"""The doctor's report for people: one line per check, grouped, with advice below. It is readable without colors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from starter.doctor.findings import Finding, State

WIDTH = 100  # columns
MARKS: Mapping[State, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "failed": ("✗", "bold red"),
    "skipped": ("–", "dim"),
}


def print_report(out: Console, findings: Sequence[Finding]) -> None:
    """Print all findings, and a last line with the number of findings in each state."""
    table = Table.grid(Column(no_wrap=True), Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for group, lines in groupby(findings, key=lambda finding: finding.group):
        table.add_row(Text(group, "bold"))
        for finding in lines:
            mark, style = MARKS[finding.state]
            table.add_row(Text(f"  {mark} {finding.state}", style), finding.check, _details(finding))
    out.width = min(WIDTH, out.width) if out.is_terminal else WIDTH  # a pipe has no width
    out.print(table)
    counts = Counter(finding.state for finding in findings)
    out.print(", ".join(f"{counts[state]} {state}" for state in MARKS if counts[state]), markup=False)


def _details(finding: Finding) -> Text:
    advice = Text(f"\n→ {finding.advice}", "cyan") if finding.advice else Text()
    return Text(finding.found) + advice
