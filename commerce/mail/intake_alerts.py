"""Alert the admins of webhooks of the shop that cannot be used, once per kind of problem and day."""

from commerce.database import Database
from commerce.errors import PermanentError
from commerce.intake import deliveries
from commerce.intake.deliveries import Problem
from commerce.intake.platforms import PLATFORMS
from commerce.mail.notifier import Notifier
from commerce.messages.notifications import Alert

KIND = "intake-unusable"
MESSAGES = {
    "UnknownTopic": "{title} sends webhooks of a kind that is not used here: remove them at {title}",
    "OddContent": "A webhook of {title} cannot be read: its order is not processed",
    "BadOrder": "A webhook of {title} has an order that cannot be taken: it is not processed",
}
OTHER = "A webhook of {title} has an order that cannot be stored: it is not processed"


async def alert_of_unusable(database: Database, notifier: Notifier) -> None:
    """Alert the admins of problems that they do not know yet.

    An alert that was refused is kept as failed. Raises what can be retried: DatabaseUnavailable, MailUnavailable,
    AlertUnavailable or StepInProgress.
    """
    async with database.transaction() as tx:
        problems = await deliveries.unreported(tx)
    for problem in problems:
        try:
            await notifier.alert(_alert_of(problem))
        except PermanentError as error:
            await notifier.mark_failed(_alert_of(problem).key, type(error).__name__)
        async with database.transaction() as tx:
            await deliveries.mark_reported(tx, problem)


def _alert_of(problem: Problem) -> Alert:
    title = PLATFORMS[problem.platform].title
    return Alert(
        kind=KIND,
        key=f"{KIND}/{problem.platform}/{problem.problem}/{problem.day}",
        message=MESSAGES.get(problem.problem, OTHER).format(title=title),
        error=f"{problem.problem}: {problem.reason}",
    )
