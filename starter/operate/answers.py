"""Answer steps that wait: record the answer first, then wake the process; deliver what could not be delivered."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import structlog
from temporalio.client import Client, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from commerce import waits
from commerce.database import Database
from commerce.errors import AlreadyAnswered, BadInput, WaitNotFound, WaitOver
from commerce.messages.base import FieldError
from commerce.messages.waits import UPDATE, Answer, AnswerReceipt, StepAnswer, WaitKey, answer_problems
from commerce.waits import Recorded
from starter.operate.run_history import get_latest_run, status_of
from starter.processes import PROCESS_TYPES, Question

TAKE_TIMEOUT = timedelta(seconds=3)  # for a worker to take an answer; then it is delivered later
DELIVER_AFTER = timedelta(seconds=10)  # older answers have been given up by those who recorded them
MAX_DELIVERIES = 100  # at once
MAX_KEY = 200  # characters of an idempotency key
OVER = (AlreadyAnswered.__name__, WaitOver.__name__)

log = structlog.stdlib.get_logger("commerce.answers")


def question_of(kind: str, process_id: str, step: str) -> Question:
    """Return what a step of this process type asks. Raises WaitNotFound if it never waits."""
    questions: Mapping[str, Question] = PROCESS_TYPES[kind].questions if kind in PROCESS_TYPES else {}
    if step not in questions:
        raise WaitNotFound(process_id)
    return questions[step]


async def answer(
    client: Client,
    database: Database,
    process_id: str,
    step: str,
    given: Answer,
    *,
    by: str,
    idempotency_key: str | None = None,
    wait: WaitKey | None = None,
) -> AnswerReceipt:
    """Answer a step of a process; `wait`: the round that is answered, default: the latest one.

    The same answer under the same idempotency key is accepted again, also when the process has ended. Raises
    ProcessNotFound, WaitNotFound, AlreadyAnswered, WaitOver, RetryRefused, BadInput, Unreachable, DatabaseUnavailable.
    """
    run = await get_latest_run(client, process_id)
    if problems := _problems(given, idempotency_key, question_of(run.workflow_type, process_id, step)):
        raise BadInput(problems)
    status = status_of(run)
    async with database.transaction() as tx:
        wait = wait or await waits.latest(tx, process_id, step)
        recorded = await waits.record(tx, wait, given, by=by, idempotency_key=idempotency_key)
        if recorded.is_new and status != "running":
            raise WaitOver(process_id, f"it is {status}")
    taken = status != "running" or await wake(client, recorded)
    return AnswerReceipt(
        transaction_id=process_id,
        step=step,
        answer=given.answer,
        round=recorded.key.round,
        status="taken" if taken else "recorded",
    )


async def deliver_answers(client: Client, database: Database) -> int:
    """Deliver recorded answers that their processes have not got; return how many were delivered.

    Raises DatabaseUnavailable.
    """
    async with database.transaction() as tx:
        found = await waits.undelivered(tx, older=DELIVER_AFTER, limit=MAX_DELIVERIES)
    outcomes = await asyncio.gather(*(wake(client, each) for each in found), return_exceptions=True)
    delivered = 0
    for recorded, outcome in zip(found, outcomes, strict=True):
        if isinstance(outcome, WaitOver):  # the run has ended: nobody wants the answer any more
            async with database.transaction() as tx:
                await waits.deliver(tx, recorded.key, recorded.digest)
        elif isinstance(outcome, BaseException):
            raise outcome
        delivered += outcome is True
    return delivered


def _problems(given: Answer, idempotency_key: str | None, question: Question) -> list[FieldError]:
    problems = answer_problems(given.answer, given.data, question.answer)
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_KEY:
        problems.append(FieldError(field="idempotency_key", message=f"must have 1 to {MAX_KEY} characters"))
    return problems


async def wake(client: Client, recorded: Recorded) -> bool:
    """Let the process take a recorded answer; return False if it cannot do so now. Raises WaitOver if it has ended."""
    process_id = recorded.key.business_key
    handle = client.get_workflow_handle(process_id)
    value = StepAnswer(step=recorded.key.step, recorded=recorded.digest)
    try:
        await handle.execute_update(UPDATE, value, id=recorded.digest, rpc_timeout=TAKE_TIMEOUT)
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        return False
    except WorkflowUpdateFailedError as failure:
        refused = failure.cause.type if isinstance(failure.cause, ApplicationError) else None
        log.info("an answer was not taken", process=process_id, step=recorded.key.step, error=refused)
        if refused in OVER:
            raise WaitOver(process_id, f"step {recorded.key.step} no longer waits") from None
        return False
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise WaitOver(process_id, "it has just ended") from None
        log.warning("an answer waits for Temporal", process=process_id, error=error.message)
        return False
    return True
