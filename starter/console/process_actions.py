"""What operators do to processes: retry, cancel, dismiss and answer one; retry, cancel and dismiss many."""

import asyncio
from collections.abc import Mapping, Sequence

from fastapi import APIRouter
from starlette.responses import Response

from commerce.errors import BadInput, PermanentError, ProcessNotFound
from commerce.messages import picks, returns
from commerce.messages.base import FieldError, Message
from commerce.messages.returns import ReturnReceipt, return_id_of
from commerce.messages.runs import Run
from commerce.messages.waits import MAX_REASON, ROUND, Answer, AnswerKind
from commerce.queries.order_goods import load_picks
from commerce.queries.returns import find_return
from starter.api.callers import Role, requires
from starter.console.listing import Who, process_path, who
from starter.console.orders import order_path
from starter.console.processes import FILTERS, find_processes, orders_of
from starter.console.questions import current, read_picked, read_receipt
from starter.console.views import View, ViewDep
from starter.operate import actions, answers
from starter.operate.bulk import act_on_all
from starter.operate.process_list import MAX_CONCURRENT_CALLS
from starter.operate.process_status import to_run
from starter.operate.returns import receive_return
from starter.operate.run_history import get_latest_run

ACTIONS = ("retry", "cancel", "dismiss")
ANSWERS: tuple[AnswerKind, ...] = ("success", "failure", "retry")
DONE: Mapping[str, str] = {"retry": "runs again", "cancel": "is being cancelled", "dismiss": "is dismissed"}
MAX_PROCESSES = 500  # at once

routes = APIRouter(prefix="/processes", dependencies=[requires(Role.operator)])


@routes.post("/many")
async def act_on_many(view: ViewDep) -> Response:
    """Show what an action on the ticked processes would do; with `confirmed`, do it and show what came of it.

    `all`: instead of the ticked ones, those that the filters select.
    """
    action, ids = view.form.get("action"), list(dict.fromkeys(view.form.all("id")))
    more = False
    if view.form.get("all") == "yes":
        ids, more = await find_processes(view, {name: view.form.get(name) for name in FILTERS}, MAX_PROCESSES)
    problems = []
    if action not in ACTIONS:
        problems.append(FieldError(field="action", message=f"must be one of {', '.join(ACTIONS)}"))
    if not 1 <= len(ids) <= MAX_PROCESSES:
        problems.append(FieldError(field="id", message=f"tick 1 to {MAX_PROCESSES} processes"))
    if problems:
        raise BadInput(problems)
    runs = await _latest_runs(view, ids)
    outcomes: Mapping[str, str | PermanentError] | None = None
    if view.form.get("confirmed") == "yes":
        reason = who(view)
        outcomes = await act_on_all(runs, lambda process_id: _act(view, action, process_id, reason))
    return view.render(
        "many-processes.html.j2",
        action=action,
        runs=runs,
        missing=[each for each in ids if each not in {run.transaction_id for run in runs}],
        refused={each: str(found) for each, found in (outcomes or {}).items() if isinstance(found, PermanentError)},
        is_done=outcomes is not None,
        more=more,
        path_of=process_path,
        done=DONE,
    )


@routes.post("/{process_id}/answer")
async def answer_step(view: ViewDep, process_id: str) -> Response:
    """Answer a step that waits."""
    given = next((kind for kind in ANSWERS if kind == view.form.get("answer")), None)
    if given is None:
        raise BadInput([FieldError(field="answer", message=f"must be one of {', '.join(ANSWERS)}")])
    step, reason = view.form.get("step").partition(ROUND)[0], view.form.get("reason")[:MAX_REASON]
    async with view.database.transaction() as tx:
        order_id = (await orders_of(tx, [process_id])).get(process_id)
        return_id = return_id_of(process_id) or ""
        data: Message | None = None
        if given == "success" and step == picks.STEP and order_id:
            data = read_picked(view.form, current(await load_picks(tx, order_id)))
        if given == "success" and step == returns.AWAIT:
            data = read_receipt(view.form, await find_return(tx, return_id))
    client, database, by = await view.temporal(), view.database, view.caller.name
    if isinstance(data, ReturnReceipt):
        receipt = await receive_return(client, database, return_id, data, by=by, reason=reason)
    else:
        answer = Answer(answer=given, data=data.model_dump() if data else None, reason=reason)
        receipt = await answers.answer(client, database, process_id, step, answer, by=by)
    done = "The process has the answer." if receipt.status == "taken" else "The answer counts once a worker runs."
    return view.redirect(order_path(order_id) if order_id else process_path(process_id), done)


@routes.post("/{process_id}/{action}")
async def act_on_one(view: ViewDep, process_id: str, action: str) -> Response:
    """Retry, cancel or dismiss a process."""
    if action not in ACTIONS:
        raise BadInput([FieldError(field="action", message=f"must be one of {', '.join(ACTIONS)}")])
    await _act(view, action, process_id, who(view))
    return view.redirect(process_path(process_id), f"The process {DONE[action]}.")


async def _act(view: View, action: str, process_id: str, reason: Who) -> str:
    """Do this to a process and return the id of its run. Raises what the functions of starter/operate/actions.py do."""
    client, database = await view.temporal(), view.database
    match action:
        case "retry":
            return await actions.retry(client, database, process_id, **reason)
        case "cancel":
            return await actions.cancel(client, database, process_id, reason=reason["reason"], actor=reason["actor"])
        case _:
            return await actions.dismiss(client, database, process_id, **reason)


async def _latest_runs(view: View, ids: Sequence[str]) -> list[Run]:
    """Return the latest runs of those processes that there are."""
    client, free = await view.temporal(), asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def latest(process_id: str) -> Run | None:
        async with free:
            try:
                return to_run(await get_latest_run(client, process_id))
            except ProcessNotFound:
                return None

    return [run for run in await asyncio.gather(*map(latest, ids)) if run]
