"""A day of the shop's calendar is counted, and reported to the admins."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.analytics import AnalyticsActivities
    from activities.notifications import NotificationActivities
    from commerce.messages.analytics import Analytics, AnalyticsResult, CountDay, Day
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.progress import Progress
    from workflows.engine.alerts import run_key, send_or_alert
    from workflows.engine.calls import call_of, execute
    from workflows.engine.job import Job
    from workflows.engine.policies import LONG_BATCH, MAIL


@workflow.defn(name="collect-analytics-data")
class CollectAnalyticsDataWorkflow:
    """The day is the one before the time this was to run, whenever it runs (J5)."""

    def __init__(self) -> None:
        self._job = Job(AnalyticsActivities.collect)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell whether the day is counted."""
        return self._job.progress

    @workflow.run
    async def run(self, request: Analytics) -> AnalyticsResult:
        """Count the day, and the one before it if that was missed; a day done again sends no second report."""
        async with self._job as job:
            run = await job.begin(None)
            day = await self._count(CountDay(nominal=run.nominal, day=request.date, top=request.top))
            reported = await _report(day)
            # A clock that goes forward may skip the hour at which a day was to be counted.
            made_up = None if request.date else day.missed
            if made_up:
                await _report(await self._count(CountDay(nominal=run.nominal, day=made_up, top=request.top)))
        return AnalyticsResult.of(day, reported=reported, made_up=made_up)

    async def _count(self, asked: CountDay) -> Day:
        return await self._job.batch(AnalyticsActivities.collect, asked, LONG_BATCH)


async def _report(day: Day) -> bool:
    """Send the report of a day; one that cannot be sent is told to admins."""
    mail = day.report
    alert = Alert(
        kind="notification-failed",
        key=f"notification-failed/{mail}/{run_key()}",
        message=f"The report of {day.day} was not sent",
        job_name="collect-analytics-data",
    )
    call = call_of("send-notification", NotificationRef(key=mail))
    return await send_or_alert(execute(NotificationActivities.send, call, MAIL), mail, alert)
