"""The step that asks the admins to review an order."""

from temporalio import activity

from activities.boundary.outages import OutageAlerts
from activities.boundary.questions import ask_admins
from commerce.database import Database
from commerce.errors import MailServerDown
from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.notifications import Alert
from commerce.messages.orders import ReviewRequest
from commerce.messages.steps import Call

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
        order_id = call.input.order_id
        question = Alert(
            kind=KIND,
            key=f"{KIND}/{order_id}",
            severity="medium",
            message=f"The order waits for a review because of {' and '.join(call.input.reasons)}",
            order_id=order_id,
        )
        await ask_admins(
            self._database, self._notifier, self._outages.watch(MailServerDown.service), call.key, question
        )
        return Nothing()
