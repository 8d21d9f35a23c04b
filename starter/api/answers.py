"""Answers to steps that wait: by programs over HTTP, and by people who open a signed link."""

from html import escape
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Header, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import ConfigDict, Field

from commerce import confirmations, passwords, waits
from commerce.answer_links import PATH, AnswerLinks, Link
from commerce.errors import ActionRefused, AlreadyAnswered, LinkInvalid, ProcessNotFound, WaitNotFound, WaitOver
from commerce.messages.waits import MAX_REASON, Answer, AnswerKind, AnswerReceipt, WaitKey
from starter.api.admission import AdmissionDep
from starter.api.backends import Backends, BackendsDep, ClientDep, DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.parameters import MAX_ID_LENGTH, RequestBody, Text, TransactionId
from starter.operate import answers
from starter.operate.answers import MAX_KEY, question_of
from starter.operate.run_history import get_latest_run
from starter.processes import Question

BY_LINK = "link"
ORDER, STEP = "order-processing-1001", "review-order"
RECEIPT = {"transaction_id": ORDER, "step": STEP, "answer": "success", "round": 1, "status": "taken"}
RESPONSES: Responses = {
    200: json_example(RECEIPT, "The process has the answer"),
    202: {"model": AnswerReceipt}
    | json_example(RECEIPT | {"status": "recorded"}, "The answer counts; the process gets it when a worker runs"),
    **error_examples(
        HTTPStatus.NOT_FOUND,
        "There is no such process, or it has no such step that waits",
        ProcessNotFound("order-processing-7"),
        WaitNotFound(ORDER),
    ),
    **error_examples(
        HTTPStatus.CONFLICT,
        "The step has another answer, or it no longer waits",
        AlreadyAnswered(ORDER, "step review-order has an answer already"),
        WaitOver(ORDER, "step review-order got no answer in time"),
    ),
}
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body><h1>{title}</h1>
<p>{text}</p>
{form}</body>
</html>
"""
CONFIRM_FORM = """<form method="post">
<p><label>Password:<br>
<input type="password" name="password" maxlength="{max}" autocomplete="current-password" required></label></p>
<p><button>{label}</button></p></form>
"""
FORM = """<form method="post">
<p><label>Why, if you want to say so:<br>
<textarea name="reason" rows="3" cols="40" maxlength="{max}"></textarea></label></p>
<p><button>{label}</button></p></form>
"""
NOT_FOUND = "No registration of this address that still waits has this password."
NO_LINK = "This link is not valid, or no longer"
MAX_FIELDS = 10  # of a form, which has one

routes = APIRouter(prefix="/workflows", tags=["workflows"], responses=COMMON_ERRORS)
links = APIRouter(prefix=PATH.rstrip("/"), include_in_schema=False)  # pages for people, not for programs


class StepAnswerBody(RequestBody):
    """The data of a success, and the reason for any answer."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The customer called"}})

    data: dict[str, Any] | None = Field(
        None, description="What the step asks for, only with `success`; `commerce contract --json` has its schema"
    )
    reason: Text = Field(
        "",
        max_length=MAX_REASON,
        description="Why. Stored only in the shop's own database, so it may contain personal data. Default: none",
    )


@routes.post(
    "/{transaction_id}/steps/{step}/{answer}",
    summary="Answer a step that waits",
    response_model=AnswerReceipt,
    responses=RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def answer_step(
    transaction_id: TransactionId,
    step: Annotated[
        str, Path(min_length=1, max_length=MAX_ID_LENGTH, description="The step that waits", examples=[STEP])
    ],
    answer: Annotated[
        AnswerKind,
        Path(description="`success`: the process goes on; `failure`: it undoes itself; `retry`: the step asks again"),
    ],
    temporal: ClientDep,
    database: DatabaseDep,
    caller: CallerDep,
    body: Annotated[StepAnswerBody, Body(default_factory=StepAnswerBody)],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=MAX_KEY,
            description="The same answer under the same key is accepted again. Default: its content is the key",
        ),
    ] = None,
) -> JSONResponse:
    """Answer a step that waits for something outside the shop, such as a person.

    After a 202 the answer counts as well: the process gets it as soon as a worker runs. It is safe to send the request
    again, best with an `Idempotency-Key`.
    """
    given = Answer(answer=answer, data=body.data, reason=body.reason)
    with prefix_field_errors("body", idempotency_key="header.idempotency-key"):
        receipt = await answers.answer(
            temporal, database, transaction_id, step, given, by=caller.name, idempotency_key=idempotency_key
        )
    status = HTTPStatus.OK if receipt.status == "taken" else HTTPStatus.ACCEPTED
    return JSONResponse(receipt.model_dump(), status)


@links.get("/{token}")
async def show_question(token: str, backends: BackendsDep) -> HTMLResponse:
    """Show what a link from a mail answers. It answers nothing itself: mail programs open links by themselves."""
    try:
        link, wait, question = await _resolve(backends, token)
        if question.asks_password:
            return _password_page(question, question.text, HTTPStatus.OK)
        async with backends.database.transaction() as tx:
            await waits.is_open(tx, wait)
    except (LinkInvalid, ProcessNotFound, WaitNotFound):
        return _page(NO_LINK, "", HTTPStatus.NOT_FOUND)
    except ActionRefused as refusal:
        return _page("There is nothing to answer", str(refusal), HTTPStatus.CONFLICT)
    label = question.words[link.answer]
    form = FORM.format(max=MAX_REASON, label=escape(label))
    return _page(label, question.text.format(process=wait.business_key), HTTPStatus.OK, form)


@links.post("/{token}")
async def answer_by_link(token: str, backends: BackendsDep, admission: AdmissionDep, request: Request) -> HTMLResponse:
    """Answer the question of a link from a mail, once. It needs no token: the link is signed and expires."""
    try:
        form = _read_form(await request.body())
    except ValueError:
        return _page("This form is not valid", "Open the link again.", HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        link, wait, question = await _resolve(backends, token)
        given = Answer(answer=link.answer, reason=form.get("reason", "").strip()[:MAX_REASON])
        if question.asks_password:
            await admission.confirmation(request)
            found = await _find_registration(backends, wait, form.get("password", ""))
            if found is None:
                return _password_page(question, NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
            wait, given = found, Answer(answer=link.answer)
        await answers.answer(
            await backends.client(), backends.database, wait.business_key, wait.step, given,
            by=BY_LINK, idempotency_key=None if question.asks_password else link.idempotency_key, wait=wait,
        )  # fmt: skip
    except (LinkInvalid, ProcessNotFound, WaitNotFound):
        return _page(NO_LINK, "", HTTPStatus.NOT_FOUND)
    except ActionRefused as refusal:
        return _page("There is nothing to answer", str(refusal), HTTPStatus.CONFLICT)
    return _page("Thank you", f"Your answer is recorded: {question.words[link.answer].lower()}.", HTTPStatus.OK)


async def _resolve(backends: Backends, token: str) -> tuple[Link, WaitKey, Question]:
    """Return what a link is about. Raises LinkInvalid, ProcessNotFound, WaitNotFound."""
    signed: AnswerLinks | None = backends.settings.answer_links
    if signed is None:
        raise LinkInvalid
    link = signed.read(token)
    async with backends.database.transaction() as tx:
        wait = await waits.find(tx, link.wait_id)
    if wait is None:
        raise LinkInvalid
    run = await get_latest_run(await backends.client(), wait.business_key)
    question = question_of(run.workflow_type, wait.business_key, wait.step)
    if link.answer not in question.words:
        raise LinkInvalid
    return link, wait, question


async def _find_registration(backends: Backends, wait: WaitKey, password: str) -> WaitKey | None:
    """Return the wait of the newest registration of the link's address that has this password, or None."""
    async with backends.database.transaction() as tx:
        candidates = await confirmations.pending(tx, wait.business_key)
    for candidate in candidates:
        if await passwords.verify(password, candidate.password_hash):
            async with backends.database.transaction() as tx:
                return await waits.latest(tx, candidate.process_id, wait.step)
    return None


def _read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form, without what PostgreSQL cannot store. Raises ValueError if there are too many."""
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    return {name: values[0].replace("\0", "") for name, values in fields.items()}


def _password_page(question: Question, text: str, status: HTTPStatus) -> HTMLResponse:
    label = question.words["success"]
    form = CONFIRM_FORM.format(max=passwords.MAX_INPUT_LENGTH, label=escape(label))
    return _page(label, text, status, form)


def _page(title: str, text: str, status: HTTPStatus, form: str = "") -> HTMLResponse:
    content = PAGE.format(title=escape(title), text=escape(text), form=form)
    return HTMLResponse(content, status, PAGE_HEADERS)
