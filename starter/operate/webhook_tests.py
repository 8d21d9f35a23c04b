"""Send a test event to a webhook, once, from here: whether the receiver answers, and how."""

from commerce import webhooks
from commerce.database import Database
from commerce.errors import WebhookForbidden, WebhookUnavailable
from commerce.integrations.webhooks import WebhookPoster
from commerce.messages.webhooks import TestResult
from commerce.settings import Settings


async def send_test(database: Database, settings: Settings, endpoint_id: str, *, actor: str) -> TestResult:
    """Post a signed test event to an endpoint, also to a disabled one, and return the answer.

    Raises WebhookNotFound, DatabaseUnavailable.
    """
    async with database.transaction() as tx:
        message = await webhooks.make_test(tx, endpoint_id, actor=actor)
    poster = WebhookPoster.of(settings)
    try:
        return TestResult(event_id=message.event_id, status=await poster.post(message))
    except (WebhookUnavailable, WebhookForbidden) as error:
        return TestResult(event_id=message.event_id, status="failed", error=str(error))
    finally:
        await poster.close()
