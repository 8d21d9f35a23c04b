"""What processes ask people: what each question is about, and the answer that its form gives.

A question whose answer has data gets fields for them. The names of the fields name the pick or line, so that a form
that was made for an earlier question is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput
from commerce.messages import picks, returns
from commerce.messages.base import FieldError
from commerce.messages.order_views import PickView, RefundView
from commerce.messages.picks import Missing, Picked
from commerce.messages.return_views import ReturnView
from commerce.messages.returns import ReceivedItem, ReturnReceipt, return_process_id
from commerce.messages.runs import ProcessStatus, StepStatus
from commerce.messages.waits import AnswerKind
from commerce.queries.order_goods import load_picks, load_refunds
from commerce.queries.returns import load_returns
from starter.console.fields import line_field, missing_field, read_units
from starter.console.views import Form
from starter.operate.answers import question_of
from starter.processes import PROCESS_TYPES, Question

REFUND_AT_SHOP: Final = "refund-at-shop"
MAX_LINES = 500  # with fields: a form has at most 2,000
OUT_OF_DATE = "this is not what is asked for now. Go back, reload the page, and answer again"
# A form with fields has other buttons than a link in a mail.
WORDS: Mapping[str, Mapping[AnswerKind, str]] = {
    picks.STEP: {"success": "Record the pick", "retry": "Ask the warehouse again", "failure": "Undo the order"},
    returns.AWAIT: {
        "success": "Record what came back",
        "retry": "Ask the customer again",
        "failure": "The goods will not come back",
    },
}


@dataclass(frozen=True)
class Asked:
    """A step that waits, and its question.

    `picks`: those that the warehouse was asked for and has not lost. `returned`: the return whose goods are waited for.
    `refunds`: those that a person has to make.
    """

    process: ProcessStatus
    step: StepStatus
    question: Question
    picks: Sequence[PickView] = ()
    returned: ReturnView | None = None
    refunds: Sequence[RefundView] = ()

    @property
    def words(self) -> Mapping[AnswerKind, str]:
        """The buttons, by answer."""
        return WORDS.get(self.step.kind, self.question.words)

    @property
    def has_fields(self) -> bool:
        """Whether the form has fields for each line."""
        lines = [line for pick in self.picks for line in pick.lines] if self.picks else []
        returned = self.returned.lines if self.returned else []
        return len(lines) + len(returned) <= MAX_LINES


def asked_by(
    process: ProcessStatus, picks_: Sequence[PickView], returned: Sequence[ReturnView], refunds: Sequence[RefundView]
) -> list[Asked]:
    """Return what a process asks people now; `picks_`, `returned` and `refunds` are those of its order."""
    found = []
    for step in _waiting(process):
        question = question_of(process.type, process.transaction_id, step.kind)
        mine = [each for each in returned if each.transaction_id == process.transaction_id]
        found.append(
            Asked(
                process,
                step,
                question,
                current(picks_) if step.kind == picks.STEP else (),
                mine[0] if mine and step.kind == returns.AWAIT else None,
                [each for each in refunds if _is_asked(each, process)] if step.kind == REFUND_AT_SHOP else (),
            )
        )
    return found


async def load_asked(tx: AsyncSession, process: ProcessStatus, order_id: str | None) -> list[Asked]:
    """Return what a process asks people now, with what its database says about it."""
    if not _waiting(process) or order_id is None:
        return asked_by(process, (), (), ())
    return asked_by(
        process,
        await load_picks(tx, order_id),
        await _load_return(tx, process.transaction_id),
        await load_refunds(tx, order_id),
    )


def current(found: Sequence[PickView]) -> list[PickView]:
    """Return the picks that the answer to `await-pick` is about: those of the last round that are not withdrawn."""
    live = [pick for pick in found if pick.state != "withdrawn"]
    last = max((pick.round for pick in live), default=0)
    return [pick for pick in live if pick.round == last]


def read_picked(form: Form, asked: Sequence[PickView]) -> Picked:
    """Return what a form says that picks have not found. What the warehouse has said counts. Raises BadInput."""
    missing = []
    has_fields = sum(len(pick.lines) for pick in asked) <= MAX_LINES
    for pick in asked:
        for number, line in enumerate(pick.lines):
            name, units = missing_field(pick, number), line.missing
            if form.has(name) == (units is not None or not has_fields):
                raise BadInput([FieldError(field="missing", message=OUT_OF_DATE)])
            if units is None:
                units = read_units(form, name, line.quantity, f"missing of {line.sku}") if has_fields else 0
            if units:
                missing.append(Missing(fulfillment_id=pick.fulfillment_id, sku=line.sku, quantity=units))
    return Picked(missing=missing)


def read_receipt(form: Form, returned: ReturnView) -> ReturnReceipt:
    """Return what a form says that came back of a return. Raises BadInput."""
    if len(returned.lines) > MAX_LINES:
        return ReturnReceipt(everything=True)
    items = []
    for line in returned.lines:
        back, unsellable = line_field("back", line.line), line_field("unsellable", line.line)
        if not form.has(back) or not form.has(unsellable):
            raise BadInput([FieldError(field="items", message=OUT_OF_DATE)])
        units = read_units(form, back, line.quantity, f"came back of {line.sku}")
        bad = read_units(form, unsellable, units, f"not sellable of {line.sku}")
        if units:
            items.append(ReceivedItem(line=line.line, quantity=units, sellable=units - bad))
    if not items:
        message = f"name what came back; if nothing did, answer “{WORDS[returns.AWAIT]['failure']}”"
        raise BadInput([FieldError(field="items", message=message)])
    return ReturnReceipt(items=items)


def _waiting(process: ProcessStatus) -> list[StepStatus]:
    kind = PROCESS_TYPES.get(process.type)
    if kind is None or process.progress is None or process.status != "running":
        return []
    return [
        step
        for step in process.progress.steps
        if step.state == "waiting" and step.kind in kind.questions and not kind.questions[step.kind].asks_password
    ]


def _is_asked(refund: RefundView, process: ProcessStatus) -> bool:
    of = return_process_id(refund.return_id) if refund.return_id else None
    is_its = process.transaction_id == of if of else refund.purpose == process.type
    return is_its and refund.state == "due"


async def _load_return(tx: AsyncSession, process_id: str) -> list[ReturnView]:
    return_id = returns.return_id_of(process_id)
    return await load_returns(tx, [return_id]) if return_id else []
