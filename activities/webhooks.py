"""The activity that posts one event to one webhook endpoint."""

from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from commerce import webhooks
from commerce.database import Database
from commerce.errors import WebhookUnavailable
from commerce.integrations.webhooks import WebhookPoster
from commerce.messages.steps import Call
from commerce.messages.webhooks import Delivered, WebhookDelivery
from commerce.webhooks import WebhookMessage


class WebhookActivities:
    """Post events to webhook endpoints."""

    def __init__(self, database: Database, poster: WebhookPoster) -> None:
        self._database = database
        self._poster = poster

    @activity.defn(name="post-webhook")
    async def post(self, call: Call[WebhookDelivery]) -> Delivered:
        """Post the signed event. A response other than 2xx fails the attempt, which is retried for days (N4)."""
        async with self._database.transaction() as tx:
            message = await webhooks.load_message(tx, call.input)
        if not isinstance(message, WebhookMessage):
            return Delivered(status=message)
        try:
            status = await self._poster.post(message)
        except WebhookUnavailable as error:
            wait = timedelta(seconds=error.wait) if error.wait else None
            raise ApplicationError(str(error), type=type(error).__name__, next_retry_delay=wait) from None
        if status == "gone":
            async with self._database.transaction() as tx:
                await webhooks.disable(tx, call.input)
        return Delivered(status=status)
