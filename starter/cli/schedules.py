"""The commands `commerce schedules …`: what Temporal's schedules are, and what operators do to them."""

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from pydantic import ValidationError
from rich.table import Column, Table

from commerce.errors import BadInput
from commerce.messages.base import field_errors
from commerce.messages.schedules import JobSchedule, Period
from starter.cli.shared import AsJson, DataDir, ask, out, say, tell

schedules_app = typer.Typer(help="The jobs that run by the clock.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The job, like sync-inventory")]
Reason = Annotated[str, typer.Option(help="Why, for whoever looks at the list")]
MOMENT = "A day in the job's zone like 2026-03-01, or a time with its offset like 2026-03-01T06:00+01:00"


@schedules_app.command("apply")
def apply_schedules(
    paused: Annotated[bool, typer.Option("--paused", help="Create new ones paused")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Make Temporal's schedules what the settings want; paused ones stay paused, orphans are told, not deleted."""
    from starter.schedules.apply import apply_schedules

    applied = ask(data_dir, lambda desk: apply_schedules(desk.client, desk.settings, paused=paused))
    lines = [f"{outcome:>9}  {schedule_id}" for outcome, ids in applied for schedule_id in ids]
    tell(applied.model_dump(), "\n".join(lines), as_json=as_json)


@schedules_app.command("list")
def list_schedules(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show every job: when it runs, next and last, and whether it is paused."""
    from starter.schedules.queries import list_schedules_with_reasons

    found = ask(data_dir, lambda desk: list_schedules_with_reasons(desk.client, desk.database))
    if as_json:
        out.print_json(data=[schedule.model_dump(mode="json") for schedule in found])
    elif found:
        table = Table(Column("job", no_wrap=True), Column("when", no_wrap=True), "state", "next run", "last run")
        for schedule in found:
            table.add_row(*_row(schedule))
        out.print(table)
    else:
        say("There are no schedules yet: a worker makes them as it starts, or `commerce schedules apply`")


@schedules_app.command()
def trigger(schedule_id: Id, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Run a job now, be it paused or not."""
    from starter.schedules.actions import trigger

    process = ask(data_dir, lambda desk: trigger(desk.client, schedule_id))
    tell({"id": schedule_id, "process": process}, f"{schedule_id} runs as {process or '…'}", as_json=as_json)


@schedules_app.command()
def pause(schedule_id: Id, reason: Reason = "by hand", as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Let a job start no more by the clock."""
    from starter.schedules.actions import pause

    ask(data_dir, lambda desk: pause(desk.client, desk.database, schedule_id, reason=reason))
    tell({"id": schedule_id, "paused": True, "reason": reason}, f"{schedule_id} is paused", as_json=as_json)


@schedules_app.command()
def resume(schedule_id: Id, reason: Reason = "by hand", as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Let a job start by the clock again."""
    from starter.schedules.actions import resume

    ask(data_dir, lambda desk: resume(desk.client, desk.database, schedule_id, reason=reason))
    tell({"id": schedule_id, "paused": False, "reason": reason}, f"{schedule_id} runs by the clock", as_json=as_json)


@schedules_app.command()
def backfill(
    schedule_id: Id,
    start: Annotated[str, typer.Option("--from", help=MOMENT)],
    end: Annotated[str, typer.Option("--to", help="The first day or time that is left out")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Run a job for times gone by, one after the other."""
    from starter.schedules.actions import backfill

    span = _span(start, end)
    times = ask(data_dir, lambda desk: backfill(desk.client, schedule_id, span.start, span.end))
    shown = [time.isoformat() for time in times]
    count = f"{len(shown)} run{'s' if len(shown) != 1 else ''} of {schedule_id}"
    line = f"{count}, for {shown[0]} to {shown[-1]}" if shown else count
    tell({"id": schedule_id, "nominal_times": shown}, line, as_json=as_json)


def _span(start: str, end: str) -> Period:
    try:
        return Period.model_validate({"from": start, "to": end})
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None


def _row(schedule: JobSchedule) -> tuple[str, ...]:
    """Return a line of the list, its times in the job's zone."""

    def shown(time: datetime) -> str:
        return f"{time.astimezone(ZoneInfo(schedule.zone)):%Y-%m-%d %H:%M}"

    last = schedule.last_runs[-1] if schedule.last_runs else None
    return (
        schedule.id,
        f"{schedule.cron or 'set by hand'}, {schedule.zone}",
        f"paused: {schedule.note}" if schedule.paused else "runs" if schedule.running else "waits",
        shown(schedule.next_runs[0]) if schedule.next_runs else "–",
        f"{shown(last.nominal_time)} {last.status}" if last else "–",
    )
