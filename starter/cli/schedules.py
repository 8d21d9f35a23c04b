"""The commands `commerce schedules …`: create, list, run and pause the schedules of jobs."""

from datetime import date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from pydantic import ValidationError

from commerce.errors import BadInput
from commerce.messages.base import FieldError, count_of, field_errors
from commerce.messages.schedules import ApplyResult, JobSchedule, Period
from starter.cli.shared import AsJson, Connections, DataDir, out, print_line, print_result, run_connected
from starter.cli.tables import Column, print_table

LISTED = (
    Column("job"),
    Column("when", 2),
    Column("state", flexible=True, styled=True),
    Column("next run", 1),
    Column("last run", 3, flexible=True),
)

schedules_app = typer.Typer(help="Show and control the schedules of jobs.", no_args_is_help=True)

ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="Schedule id, the name of its job: sync-inventory …")]
Reason = Annotated[str, typer.Option(help="Why; the list shows it")]
RESTORE = "Edited in Temporal. To restore what the settings say: commerce schedules apply --force"
DAY_OR_TIME = "a day in the schedule's time zone (2026-03-01) or a time with offset (2026-03-01T06:00+01:00)"


@schedules_app.command("apply")
def apply_schedules(
    paused: Annotated[bool, typer.Option("--paused", help="Create new schedules paused")] = False,
    force: Annotated[bool, typer.Option("--force", help="Restore schedules that were edited in Temporal")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create and update Temporal's schedules according to the settings.

    Paused schedules stay paused. Schedules that someone has edited in Temporal, in its UI for example, are left as they
    are, unless --force; the changes are listed. Schedules without a job are listed as orphans and not deleted.
    """
    from starter.schedules.apply import apply_schedules

    async def apply(connections: Connections) -> ApplyResult:
        return await apply_schedules(connections.client, connections.settings, paused=paused, force=force)

    applied = run_connected(data_dir, apply)
    lines = [f"{outcome:>9}  {schedule_id}" for outcome, ids in applied for schedule_id in ids]
    lines += [f"{schedule_id}: {change}" for schedule_id, changes in applied.edited.items() for change in changes]
    if applied.edited:
        lines.append(RESTORE)
    print_result(applied.model_dump(), "\n".join(lines), as_json=as_json)


@schedules_app.command("list")
def list_schedules(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all schedules: when they run, their next and last runs, and whether they are paused."""
    from starter.schedules.actions import list_schedules_with_reasons

    schedules = run_connected(
        data_dir, lambda connections: list_schedules_with_reasons(connections.client, connections.database)
    )
    if as_json:
        out.print_json(data=[schedule.model_dump(mode="json") for schedule in schedules])
    elif schedules:
        print_table(LISTED, [_row(schedule) for schedule in schedules])
        changes = [f"{schedule.id}: {change}" for schedule in schedules for change in schedule.edited]
        for line in [*changes, RESTORE] if changes else []:
            print_line(line)
    else:
        print_line("There are no schedules yet: start a worker or run `commerce schedules apply`")


@schedules_app.command()
def trigger(schedule_id: ScheduleId, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Run a job now, even if its schedule is paused.

    Exit code 1: the job is already running.
    """
    from starter.schedules.actions import trigger

    process_id = run_connected(
        data_dir, lambda connections: trigger(connections.client, schedule_id, database=connections.database)
    )
    line = f"{schedule_id} is running as {process_id or '…'}"
    print_result({"id": schedule_id, "process": process_id}, line, as_json=as_json)


@schedules_app.command()
def pause(
    schedule_id: ScheduleId, reason: Reason = "by hand", as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Pause a schedule: its job no longer starts by itself.

    A run in progress continues.
    """
    from starter.schedules.actions import pause

    run_connected(
        data_dir, lambda connections: pause(connections.client, connections.database, schedule_id, reason=reason)
    )
    print_result({"id": schedule_id, "paused": True, "reason": reason}, f"{schedule_id} is paused", as_json=as_json)


@schedules_app.command()
def resume(
    schedule_id: ScheduleId, reason: Reason = "by hand", as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Resume a paused schedule."""
    from starter.schedules.actions import resume

    run_connected(
        data_dir, lambda connections: resume(connections.client, connections.database, schedule_id, reason=reason)
    )
    line = f"{schedule_id} runs on schedule again"
    print_result({"id": schedule_id, "paused": False, "reason": reason}, line, as_json=as_json)


@schedules_app.command()
def backfill(
    schedule_id: ScheduleId,
    start: Annotated[str | None, typer.Option("--from", help=f"Start: {DAY_OR_TIME}")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End, exclusive; in the same form as --from")] = None,
    days: Annotated[
        str | None, typer.Option(help="The days that collect-analytics-data is to count, first..last: see below")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Run a job for past times, one after the other, even if its schedule is paused.

    It runs once for each time at which the schedule would have started it from --from until before --to. Future times
    are ignored. Instead, --days 2026-03-01..2026-03-08 names the days that are counted, both included: the job counts
    the day before the time at which it runs.
    """
    from starter.schedules.actions import backfill, counting_period

    first, last = counting_period(schedule_id, *_parse_days(days, start, end)) if days else _parse_period(start, end)
    nominal_times = run_connected(
        data_dir,
        lambda connections: backfill(connections.client, schedule_id, first, last, database=connections.database),
    )
    times = [time.isoformat() for time in nominal_times]
    count = f"{count_of(len(times), 'run')} of {schedule_id}"
    line = f"{count}, for {times[0]} to {times[-1]}" if times else count
    print_result({"id": schedule_id, "nominal_times": times}, line, as_json=as_json)


def _parse_period(start: str | None, end: str | None) -> tuple[date | datetime, date | datetime]:
    if start is None or end is None:
        raise typer.BadParameter("name the period with --from and --to, or with --days")
    try:
        period = Period.model_validate({"from": start, "to": end})
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None
    return period.start, period.end


def _parse_days(days: str, start: str | None, end: str | None) -> tuple[date, date]:
    """Return the first and the last day of `FIRST..LAST`, or of one day. Raises BadInput, typer.BadParameter."""
    if start is not None or end is not None:
        raise typer.BadParameter("--days stands alone, without --from and --to")
    first, dots, last = days.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError:
        problem = "must be days like 2026-03-01..2026-03-08, or one day"
        raise BadInput([FieldError(field="days", message=problem)]) from None


def _row(schedule: JobSchedule) -> tuple[str, ...]:
    """Return a row of the list, with times in the schedule's time zone."""

    def local(time: datetime) -> str:
        return f"{time.astimezone(ZoneInfo(schedule.zone)):%Y-%m-%d %H:%M}"

    last = schedule.last_runs[-1] if schedule.last_runs else None
    return (
        schedule.id,
        f"{schedule.cron or 'edited'}, {schedule.zone}",
        f"paused: {schedule.note}" if schedule.paused else "running" if schedule.running else "waiting",
        local(schedule.next_runs[0]) if schedule.next_runs else "–",
        f"{local(last.nominal_time)} {last.status}" if last else "–",
    )
