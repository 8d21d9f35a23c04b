"""Job that counts a day of the shop's calendar and mails the report to the admins."""

from dataclasses import replace
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.analytics import AnalyticsActivities
    from activities.notifications import NotificationActivities
    from commerce.messages.analytics import (
        Analytics,
        AnalyticsResult,
        AnalyticsState,
        CountDay,
        CountedDay,
        RecountDay,
    )
    from commerce.messages.jobs import Counts, JobRun
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.progress import Progress
    from workflows.engine.alerts import run_key, send_or_alert
    from workflows.engine.calls import call_of, execute
    from workflows.engine.job import Job
    from workflows.engine.policies import LONG_BATCH, REGULAR_MAIL

# The report waits for the mail server, but not until the next day is to be counted: runs of a job never overlap.
REPORT = replace(REGULAR_MAIL, deadline=timedelta(hours=12))


@workflow.defn(name="collect-analytics-data")
class CollectAnalyticsDataWorkflow:
    """The day is the one before the run's nominal time, whenever the run actually happens (J5)."""

    def __init__(self) -> None:
        self._job = Job(AnalyticsActivities.recount, AnalyticsActivities.collect, waits=True)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return which days are counted."""
        return self._job.progress

    @workflow.run
    async def run(self, request: Analytics) -> AnalyticsResult:
        """Count changed days again, then the day, and the day before it if that was missed.

        Counting a day again sends no second report. The day's report lists the changed days.
        """
        async with self._job as job:
            run = await job.begin(request.resume)
            recounted = await self._recount(request, run) if workflow.patched("recount-days") else 0
            day = await self._count(CountDay(nominal=run.nominal, day=request.date, top=request.top))
            reported = await _report(day)
            # When clocks go forward, the hour at which a day should be counted may not exist.
            made_up = None if request.date else day.missed
            if made_up:
                await _report(await self._count(CountDay(nominal=run.nominal, day=made_up, top=request.top)))
        return AnalyticsResult.of(day, reported=reported, made_up=made_up, recounted=recounted)

    async def _recount(self, request: Analytics, run: JobRun) -> int:
        """Count each marked day again, one per step, and return how many these were."""

        async def recount_day(state: AnalyticsState) -> tuple[AnalyticsState, bool]:
            day = (await self._job.batch(AnalyticsActivities.recount, RecountDay(top=request.top), LONG_BATCH)).day
            counted = Counts(seen=1, changed=day.changed, skipped=not day.changed) if day else Counts()
            return state.model_copy(update={"counts": state.counts.plus(counted)}), day is None

        state = await self._job.run_batches(request, request.resume or AnalyticsState(run=run), recount_day)
        return state.counts.seen

    async def _count(self, day: CountDay) -> CountedDay:
        return await self._job.batch(AnalyticsActivities.collect, day, LONG_BATCH)


async def _report(day: CountedDay) -> bool:
    """Send the report of a day and return whether it was sent; if it cannot be sent, alert the admins."""
    mail = day.report
    alert = Alert(
        kind="notification-failed",
        key=f"notification-failed/{mail}/{run_key()}",
        message=f"The report of {day.day} was not sent",
        job_name="collect-analytics-data",
    )
    call = call_of("send-notification", NotificationRef(key=mail))
    return await send_or_alert(execute(NotificationActivities.send, call, REPORT), mail, alert)
