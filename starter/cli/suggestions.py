"""What to try instead of an id that does not exist."""

import shlex
from difflib import SequenceMatcher

from commerce import errors
from commerce.errors import CommerceError

SIMILAR = 0.8  # how similar the type in a mistyped process id must be to a real one, from 0 to 1
ORDER_PROCESS = "order-processing"


def hint(error: CommerceError) -> str:
    """Return the sentence that follows the error's own, with a space before it, or nothing."""
    match error:
        case errors.ProcessNotFound(process=process):
            return _process_hint(process)
        case errors.OrderNotFound(order_id=order_id):
            return f" To find it: commerce orders list --search {shlex.quote(order_id)}"
        case errors.WebhookNotFound():
            return " To see all: commerce webhooks list"
        case errors.NotificationNotFound():
            return " To see the last ones: commerce mails list"
        case errors.ItemNotFound(sku=sku, similar=""):
            return f" To find it: commerce stock list --search {shlex.quote(sku[:3])}" if sku else ""
    return ""


def _process_hint(process: str) -> str:
    from starter.processes import PROCESS_TYPES

    if any(process.startswith(f"{name}-") or process == name for name in PROCESS_TYPES):
        return ""
    parts = process.split("-")
    guesses = (
        (SequenceMatcher(None, "-".join(parts[:words]), name).ratio(), "-".join([name, *parts[words:]]))
        for name in PROCESS_TYPES
        for words in [name.count("-") + 1]
    )
    likeness, guess = max(guesses)
    if likeness >= SIMILAR:
        return f" Did you mean {guess}?"
    return f" That of an order is {ORDER_PROCESS}-ID: commerce runs list"
