"""Start returns of orders, and note what came back."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from temporalio.client import Client

from commerce import operator_actions, returns
from commerce.database import Database
from commerce.errors import CommerceError, DatabaseUnavailable, Unreachable
from commerce.messages.returns import (
    AWAIT,
    Item,
    NewReturn,
    ReturnOrder,
    ReturnReceipt,
    return_process_id,
)
from commerce.messages.waits import Answer, AnswerReceipt
from commerce.queries.returns import find_return
from starter.client import start
from starter.operate import answers

ID_LENGTH = 16  # characters


@dataclass(frozen=True)
class StartedReturn:
    """A return, and its process."""

    return_id: str
    process_id: str


async def start_return(
    client: Client,
    database: Database,
    order_id: str,
    items: Sequence[Item] = (),
    *,
    reason: str,
    actor: str = "",
    label: bool = True,
    refund: bool = True,
    refund_shipping: bool = False,
    idempotency_key: str | None = None,
) -> StartedReturn:
    """Start `return-order`; with the same idempotency key, for the same order, this is done once.

    Raises BadInput, OrderNotFound, OrderCancelled, FulfilledElsewhere, PartlyFulfilled, OrderNotFulfilled, Unreachable,
    DatabaseUnavailable.
    """
    return_id = _return_id(order_id, idempotency_key)
    process_id = return_process_id(return_id)
    action = operator_actions.validate_action(process_id=process_id, action="return-order", reason=reason, actor=actor)
    options = {"label": label, "refund": refund, "refund_shipping": refund_shipping}
    wanted = NewReturn(order_id=order_id, return_id=return_id, items=list(items), **options)
    async with database.transaction() as tx:
        if await returns.state_of(tx, return_id):
            return StartedReturn(return_id, process_id)
        await returns.check(tx, wanted)
        await returns.check_items(tx, wanted)
    request = ReturnOrder(order_id=order_id, return_id=return_id, items=list(items), **options)
    handle = await start(client, "return-order", request)
    async with database.transaction() as tx:
        await operator_actions.record(tx, action.model_copy(update={"run_id": handle.first_execution_run_id or ""}))
    return StartedReturn(return_id, process_id)


async def receive_return(
    client: Client,
    database: Database,
    reference: str,
    receipt: ReturnReceipt,
    *,
    by: str,
    reason: str = "",
    idempotency_key: str | None = None,
) -> AnswerReceipt:
    """Note what came back of a return, which is named by its id or its tracking number; once.

    The same receipt again is accepted. Raises ReturnNotFound, BadInput, AlreadyAnswered, WaitOver, WaitNotFound,
    Unreachable, DatabaseUnavailable.
    """
    async with database.transaction() as tx:
        found = await find_return(tx, reference)
        await returns.check_receipt(tx, found.return_id, receipt)
    data = receipt.model_dump(exclude_none=True, exclude_defaults=True)
    given = Answer(answer="success", data=data, reason=reason)
    return await answers.answer(
        client, database, found.transaction_id, AWAIT, given, by=by, idempotency_key=idempotency_key
    )


async def receive_all(
    client: Client, database: Database, receipts: Mapping[str, ReturnReceipt], *, by: str
) -> dict[str, CommerceError | None]:
    """Note what came back of several returns; return by reference what was wrong, None: nothing.

    Raises Unreachable and DatabaseUnavailable. Then it can be done again: what is noted stays noted once.
    """
    outcomes: dict[str, CommerceError | None] = {}
    for reference, receipt in receipts.items():
        try:
            await receive_return(client, database, reference, receipt, by=by)
        except (Unreachable, DatabaseUnavailable):
            raise
        except CommerceError as error:
            outcomes[reference] = error
        else:
            outcomes[reference] = None
    return outcomes


def _return_id(order_id: str, idempotency_key: str | None) -> str:
    if idempotency_key is None:
        return uuid4().hex[:ID_LENGTH]
    return hashlib.sha256(f"{order_id}/{idempotency_key}".encode()).hexdigest()[:ID_LENGTH]
