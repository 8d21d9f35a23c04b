"""The demo's output: a progress bar on a terminal, plain lines in a file."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from commerce.audit import Finding
from starter.demo.customers import Registrations
from starter.demo.jobs import JobOutcome as Job
from starter.demo.orders import AT_ONCE, Ending, Summary
from starter.demo.outcomes import OrderOutcomes
from starter.demo.sample_orders import Outcome

LINE_SECONDS = 5.0  # between two lines of progress in a file
MAX_SHOWN = 10  # items of a list
STYLES: Mapping[Outcome, str] = {"fulfilled": "green", "refused": "yellow", "undone": "magenta", "waiting": "cyan"}

OnEnding = Callable[[Ending], None]


class Screen:
    """Writes the demo's output to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, name: str, what: str) -> None:
        """Print the title."""
        self._console.print(f"[bold]{escape(name)}[/]  {escape(what)}", highlight=False, soft_wrap=True)

    def head(self, text: str) -> None:
        """Print a heading."""
        self._console.print()
        self._console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a detail."""
        self._console.print(f"  {text}", style="dim", markup=False, highlight=False, soft_wrap=True)

    def complain(self, text: str) -> None:
        """Print an error."""
        self._console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, total: int) -> Iterator[OnEnding]:
        """Show the progress of `total` orders during the block; yields the function to call for each ending."""
        counts: Counter[Outcome] = Counter()
        began = time.monotonic()
        with self._progress_bar(total) if self._console.is_interactive else self._progress_lines(total) as show:

            def on_ending(ending: Ending) -> None:
                counts[ending.outcome] += 1
                show(counts, counts.total() / max(time.monotonic() - began, 0.001))

            yield on_ending

    @contextmanager
    def _progress_bar(self, total: int) -> Iterator[Callable[[Counter[Outcome], float], None]]:
        count = MofNCompleteColumn(
            table_column=Column(min_width=len(f"{total}/{total}"))
        )  # shrink the bar, not the count
        columns = (TextColumn(" "), BarColumn(20), count, TextColumn("{task.fields[what]}"))
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task("orders", total=total, what="")

            def show(counts: Counter[Outcome], rate: float) -> None:
                what = " · ".join(f"[{STYLES[name]}]{counts[name]} {name}[/]" for name in _shown(counts))
                bar.update(task, completed=counts.total(), what=f"{what} · {rate:.1f}/s")

            yield show

    @contextmanager
    def _progress_lines(self, total: int) -> Iterator[Callable[[Counter[Outcome], float], None]]:
        last = time.monotonic()

        def show(counts: Counter[Outcome], rate: float) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS or counts.total() == total:
                last = time.monotonic()
                what = ", ".join(f"{counts[name]} {name}" for name in _shown(counts))
                self.say(f"{counts.total()} of {total}: {what} ({rate:.1f} per second)")

        yield show

    def summary(self, summary: Summary) -> None:
        """Show what became of the orders, and what is wrong."""
        self.head("Results")
        self._console.print(_table(summary))
        if summary.before.fulfilled == summary.after.fulfilled > 0:
            self.say("Nothing new: an earlier demo had fulfilled all orders")
        for ending in [ending for ending in summary.endings if ending.order_id in summary.unexpected][:MAX_SHOWN]:
            self.complain(f"Order {ending.order_id} should not have been {ending.outcome}. {ending.error or ''}")
        self._print_findings(summary.findings)

    def customers(self, customers: Registrations) -> None:
        """Show how the registrations ended."""
        known = f", {customers.known} existed already" if customers.known else ""
        self.say(f"{customers.registered} accounts were created{known}; they now own {customers.orders} orders")
        self.say(f"One registration was refused: {customers.refused}")

    def jobs(self, outcomes: Sequence[Job]) -> None:
        """Show what the jobs did."""
        width = max(len(outcome.job) for outcome in outcomes)
        for outcome in outcomes:
            self._console.print(f"  {outcome.job:{width}}  {escape(outcome.summary)}", highlight=False, soft_wrap=True)

    def verdict(self, findings: Sequence[Finding]) -> None:
        """Show the result of the final audit."""
        if not findings:
            self.say("The audit afterwards is clean: every invariant holds")
        self._print_findings(findings)

    def _print_findings(self, findings: Sequence[Finding]) -> None:
        for finding in findings[:MAX_SHOWN]:
            self.complain(f"{finding.rule}: {finding.subject} {finding.detail}")

    def links(self, links: Mapping[str, str]) -> None:
        """Show addresses to look at."""
        self.head("Where to look")
        width = max(map(len, links))
        for name, link in links.items():
            self._console.print(f"  {name:{width}}  [cyan]{escape(link)}[/]", highlight=False, soft_wrap=True)


def _shown(counts: Mapping[Outcome, int]) -> list[Outcome]:
    """Return the outcomes that the progress shows: few orders wait, and those late."""
    return [name for name in STYLES if counts[name] or name != "waiting"]


def _table(summary: Summary) -> Table:
    """Return the counts of all orders, and in a second column those of this demo if there was an earlier one."""
    now, before, again = summary.after, summary.before, bool(summary.before.fulfilled)
    ended = Counter(ending.outcome for ending in summary.endings)
    table = Table(box=SIMPLE_HEAD, show_header=again, pad_edge=False)
    table.add_column()
    table.add_column("total", justify="right")
    if again:
        table.add_column("this run", justify="right")
    table.add_column(overflow="fold")

    def row(name: str, total: object, new: object, note: str = "", style: str = "") -> None:
        numbers = [str(total), str(new)] if again else [str(total) or str(new)]
        table.add_row(name, *numbers, f"[dim]{escape(note)}[/]", style=style)

    row("Fulfilled", now.fulfilled, ended["fulfilled"], style=STYLES["fulfilled"])
    row("Refused for stock", now.refused, ended["refused"], style=STYLES["refused"])
    row("Undone", now.undone, ended["undone"], _undone(summary), style=STYLES["undone"])
    row("Cancelled", now.taken_back, now.taken_back - before.taken_back, "labels voided, goods back, refunded")
    row("Returned", now.returned, now.returned - before.returned, "fulfilled, then goods back and refunded")
    row("Waits for a review", now.waiting, ended["waiting"], _waiting(summary), style=STYLES["waiting"])
    row("Not started", sum(_not_started(now).values()), "", _list(_not_started(now)))
    table.add_section()
    row("Units shipped", now.units, now.units - before.units)
    row("Labels bought", now.labels, now.labels - before.labels)
    row("Mails sent", sum(now.mails.values()), sum(now.mails.values()) - sum(before.mails.values()), _list(now.mails))
    if now.unsent:
        row("Mails not sent", now.unsent, "", style="red")
    table.add_section()
    row("Orders per second", "", f"{summary.rate:.1f}")
    row("Median time", "", f"{summary.median:.2f} s", f"{AT_ONCE} orders at once")
    row("Audit", "", *_audit(summary))
    return table


def _audit(summary: Summary) -> tuple[str, str, str]:
    broken = {finding.rule: finding.count for finding in summary.findings}
    return ("broken", _list(broken), "bold red") if broken else ("clean", "", "green")


def _undone(summary: Summary) -> str:
    return "; ".join(f"{ending.order_id}: {ending.error}" for ending in summary.endings if ending.outcome == "undone")


def _waiting(summary: Summary) -> str:
    return ", ".join(ending.order_id for ending in summary.endings if ending.outcome == "waiting")


def _not_started(now: OrderOutcomes) -> dict[str, int]:
    reasons = {"unpaid": now.unpaid, "cancelled": now.cancelled, "fulfilled elsewhere": now.fulfilled_elsewhere}
    return {reason: count for reason, count in reasons.items() if count}


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
