"""The step that asks the admins to review an order."""

from temporalio import activity

from activities.boundary.outages import OutageAlerts
from commerce import waits
from commerce.database import Database
from commerce.errors import MailServerDown, PermanentError
from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.notifications import Alert
from commerce.messages.orders import ReviewRequest
from commerce.messages.steps import Call
from commerce.messages.waits import WaitKey

KIND = "order-review"


class ReviewActivities:
    """Ask for reviews."""

    def __init__(self, database: Database, notifier: Notifier, outages: OutageAlerts) -> None:
        self._database = database
        self._notifier = notifier
        self._outages = outages

    @activity.defn(name="review-order")
    async def request(self, call: Call[ReviewRequest]) -> Nothing:
        """Ask the admins by mail and by webhook to approve or reject the order, once per wait (N1).

        An alert that cannot be sent stops nothing: the order is in the list of what waits.
        """
        async with self._database.transaction() as tx:
            wait_id = await waits.open_id(tx, WaitKey.of(call.key))
        if wait_id is None:  # it is answered or over already
            return Nothing()
        order_id = call.input.order_id
        alert = Alert(
            kind=KIND,
            key=f"{KIND}/{order_id}/{wait_id}",
            severity="medium",
            message=f"The order waits for a review because of {' and '.join(call.input.reasons)}",
            order_id=order_id,
            wait_id=wait_id,
        )
        try:
            async with self._outages.watch(MailServerDown.service):
                await self._notifier.alert(alert)
        except PermanentError as error:
            await self._notifier.mark_failed(alert.key, type(error).__name__)
        return Nothing()
