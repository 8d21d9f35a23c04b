"""How a process tells people: a mail, which may fail, and the admins' alerts."""

from collections.abc import Awaitable

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe
    from activities.notifications import NotificationActivities
    from commerce.messages.notifications import Alert, FailedNotification, Sent
    from workflows.engine.calls import call_of, execute
    from workflows.engine.cancellation import allow_failure, uninterrupted
    from workflows.engine.policies import ALERT, FINAL_STEP


async def send_or_alert(sending: Awaitable[Sent], mail: str, alert: Alert) -> bool:
    """Await that a mail is sent; one that cannot be is marked, admins get the alert, and the process goes on."""
    try:
        return (await sending).status == "sent"
    except FailureError as failure:
        if is_cancelled_exception(failure):
            raise
        await uninterrupted(_give_up(mail, describe(failure)))
        await alert_admins(alert.model_copy(update={"error": describe(failure)}))
        return False


async def alert_admins(alert: Alert) -> None:
    """Tell the admins, whatever cancels arrive meanwhile; an alert that cannot be sent is marked."""
    await uninterrupted(_alert(alert))


async def _alert(alert: Alert) -> None:
    if await allow_failure(execute(NotificationActivities.alert, call_of("alert-admins", alert), ALERT)) is None:
        await _give_up(alert.key, "NotDelivered", alert)


async def _give_up(key: str, error: str, alert: Alert | None = None) -> None:
    given_up = FailedNotification(key=key, error=error, alert=alert)
    await execute(NotificationActivities.fail, call_of("fail-notification", given_up), FINAL_STEP)


def run_key() -> str:
    """Return what tells this run's alerts from those of another run of the same process."""
    return workflow.info().original_execution_run_id
