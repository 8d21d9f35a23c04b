"""Send a mail that may fail, and alert the admins."""

from collections.abc import Awaitable

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe
    from activities.notifications import NotificationActivities
    from commerce.messages.notifications import Alert, FailedNotification, SendOutcome
    from workflows.engine.calls import call_of, execute
    from workflows.engine.cancellation import allow_failure, uninterrupted
    from workflows.engine.policies import ALERT, FINAL_STEP


async def send_or_alert(sending: Awaitable[SendOutcome], mail_key: str, alert: Alert) -> bool:
    """Await the sending of a mail and return whether it was sent.

    If it fails permanently, the notification is marked failed, the admins are alerted, and the process continues.
    """
    try:
        return (await sending).status == "sent"
    except FailureError as failure:
        if is_cancelled_exception(failure):
            raise
        await uninterrupted(_mark_failed(mail_key, describe(failure)))
        await alert_admins(alert.model_copy(update={"error": describe(failure)}))
        return False


async def alert_admins(alert: Alert) -> None:
    """Alert the admins, ignoring cancels. An alert that cannot be sent now is sent later, without this run."""
    await uninterrupted(_alert(alert))


async def _alert(alert: Alert) -> None:
    if await allow_failure(execute(NotificationActivities.alert, call_of("alert-admins", alert), ALERT)) is None:
        await _mark_failed(alert.key, "NotDelivered", alert)


async def _mark_failed(key: str, error: str, alert: Alert | None = None) -> None:
    notification = FailedNotification(key=key, error=error, alert=alert)
    await execute(NotificationActivities.fail, call_of("fail-notification", notification), FINAL_STEP)


def run_key() -> str:
    """Return the part of an alert's key that differs between runs of one process."""
    return workflow.info().run_id
