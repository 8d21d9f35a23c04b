"""Ask the admins to answer a step that waits."""

from contextlib import AbstractAsyncContextManager

from commerce import waits
from commerce.database import Database
from commerce.errors import PermanentError
from commerce.mail.notifier import Notifier
from commerce.messages.notifications import Alert
from commerce.messages.steps import StepKey
from commerce.messages.waits import WaitKey


async def ask_admins(
    database: Database, notifier: Notifier, watched: AbstractAsyncContextManager[None], key: StepKey, question: Alert
) -> None:
    """Send a question about an order once per wait (N1), unless it is answered or over already.

    The wait completes the question and its key; `key`: that of the asking step; `watched`: the watch over the mail
    server. An alert that is refused stops nothing: the process is in the list of what waits.
    """
    async with database.transaction() as tx:
        wait_id = await waits.open_id(tx, WaitKey.of(key))
    if wait_id is None:
        return
    alert = question.model_copy(update={"key": f"{question.key}/{wait_id}", "wait_id": wait_id})
    try:
        async with watched:
            await notifier.alert(alert)
    except PermanentError as error:
        await notifier.mark_failed(alert.key, type(error).__name__)
