"""What the commands of the command line do, apart from it so that `--help` need not load all of this."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from activities.boundary.failures import describe
from commerce.database import Database
from commerce.errors import Unreachable
from commerce.imports import ImportReport, import_carts, import_inventory, import_orders
from commerce.settings import Settings, load_environment, load_settings
from starter.cli.follow import follow as follow_run
from starter.client import connect
from starter.client import start as start_process
from starter.operate.audit import audit as find_breaches
from starter.processes import PROCESS_TYPES

FAILED = 1
MAX_INPUT = 1 << 20  # characters
SHOWN_BAD_ROWS = 20
NAME_WIDTH = 20  # of the names of a result


class Commands:
    """The commands, on the stack and settings of one data folder; each returns its exit code."""

    def __init__(self, data_dir: Path | None, out: Console, err: Console) -> None:
        self._environment = load_environment(data_dir)
        self._settings: Settings = load_settings(self._environment)
        self._out, self._err = out, err

    def migrate(self) -> int:
        """Bring the tables to the newest version."""
        asyncio.run(self._with_database(Database.migrate))
        self._say("The database is up to date")
        return 0

    def import_orders(self, files: Sequence[Path], *, skip_bad: bool, as_json: bool) -> int:
        """Take in order exports."""
        take_in = partial(import_orders, files=files, skip_bad=skip_bad, currency=self._settings.currency)
        return self._import(take_in, "orders", skip_bad=skip_bad, as_json=as_json)

    def import_inventory(self, files: Sequence[Path], *, skip_bad: bool, as_json: bool) -> int:
        """Take in inventory exports."""
        take_in = partial(import_inventory, files=files, skip_bad=skip_bad)
        return self._import(take_in, "levels", skip_bad=skip_bad, as_json=as_json)

    def import_carts(self, files: Sequence[Path], *, skip_bad: bool, as_json: bool) -> int:
        """Take in exports of abandoned checkouts."""
        take_in = partial(import_carts, files=files, skip_bad=skip_bad, currency=self._settings.currency)
        return self._import(take_in, "carts", skip_bad=skip_bad, as_json=as_json)

    def start(self, kind: str, text: str, *, follow: bool, wait: bool, as_json: bool) -> int:
        """Start a process, or join the one that runs under its id."""
        if kind not in PROCESS_TYPES:
            raise typer.BadParameter(f"Unknown workflow: {kind}. One of: {', '.join(PROCESS_TYPES)}")
        if follow and not wait:
            raise typer.BadParameter("--follow waits for the end: leave --no-wait out")
        request = PROCESS_TYPES[kind].parse(sys.stdin.read(MAX_INPUT) if text == "-" else text)

        async def run() -> int:
            await self._with_database(Database.ping)  # a start without it would only wait and fail
            handle = await start_process(await connect(self._environment), kind, request)
            return await self._show(handle, follow=follow, wait=wait, as_json=as_json)

        return asyncio.run(run())

    def audit(self, *, as_json: bool) -> int:
        """Print what is broken of what must always hold."""

        async def look(database: Database) -> list[Any]:
            return list(await find_breaches(database, await connect(self._environment)))

        findings = asyncio.run(self._with_database(look))
        if as_json:
            self._out.print_json(data=[finding.model_dump(mode="json") for finding in findings])
        elif findings:
            table = Table("rule", "subject", "what is wrong")
            for finding in findings:
                table.add_row(finding.rule, finding.subject, finding.detail)
            self._out.print(table)
            totals = {finding.rule: finding.count for finding in findings}
            self._say(f"{sum(totals.values()):,} findings, the first of each rule are shown")
        else:
            self._say("The audit is clean: everything that must hold holds")
        return FAILED if findings else 0

    async def _with_database(self, use: Callable[[Database], Awaitable[Any]]) -> Any:
        database = Database(self._settings.database_url.get_secret_value())
        try:
            return await use(database)
        finally:
            await database.close()

    def _import(
        self, take_in: Callable[..., Awaitable[ImportReport]], what: str, *, skip_bad: bool, as_json: bool
    ) -> int:
        with self._err.status("Reading …") as status:

            def progress(rows: int) -> None:
                status.update(f"{rows:,} rows read")

            report: ImportReport = asyncio.run(
                self._with_database(lambda database: take_in(database, progress=progress))
            )
        if as_json:
            self._out.print_json(report.model_dump_json())
        else:
            self._say(
                f"{report.read:,} rows read: {report.taken:,} {what} taken in, {report.unchanged:,} known already"
            )
            for bad in report.bad[:SHOWN_BAD_ROWS]:
                self._complain(f"{bad.file}:{bad.line}: {bad.reason}")
            if report.bad_count > SHOWN_BAD_ROWS:
                self._complain(f"… the first {SHOWN_BAD_ROWS} are shown; --json shows more")
        if report.bad_count:
            hint = "left out" if skip_bad else "nothing of their files was taken in; --skip-bad takes in the rest"
            self._complain(f"{report.bad_count:,} bad row{'s' if report.bad_count > 1 else ''}: {hint}")
        return FAILED if report.bad_count and not skip_bad else 0

    async def _show(self, handle: WorkflowHandle[Any, Any], *, follow: bool, wait: bool, as_json: bool) -> int:
        if as_json and not wait:
            self._out.print_json(data={"transaction_id": handle.id, "run_id": handle.first_execution_run_id})
        else:
            self._complain(f"{handle.id} runs")
        if not wait:
            return 0
        try:
            if follow:
                await follow_run(handle, self._complain if as_json else self._say)
            result = await handle.result()
        except WorkflowFailureError as failure:
            self._complain(describe(failure))
            return FAILED
        except RPCError as error:
            raise Unreachable(f"Temporal does not tell how {handle.id} ends: {error.message}") from error
        except asyncio.CancelledError:
            self._complain(f"Interrupted; {handle.id} runs on, the same command joins it again")
            raise
        if as_json:
            self._out.print_json(data=result)
        else:
            for name, value in result.items():
                self._say(f"{name:>{NAME_WIDTH}}  {_readable(value)}")
        return 0

    def _say(self, line: str) -> None:
        self._out.print(line, markup=False, soft_wrap=True)

    def _complain(self, line: str) -> None:
        self._err.print(line, markup=False, soft_wrap=True)


def _readable(value: Any) -> str:
    """Return a value of a result as a person reads it, a list as one line for each of its items."""
    match value:
        case None | []:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list():
            return f"\n{'':{NAME_WIDTH}}  ".join(map(_readable, value))
        case dict():
            return ", ".join(f"{name} {_readable(item)}" for name, item in value.items())
    return str(value)
