"""The models that cross process borders: inputs and results of processes and steps.

Ids, amounts and short summaries only: nothing personal, and never an order's lines.
"""

from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

OrderId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]

MAX_INSUFFICIENT_ITEMS = 100


class Message(BaseModel):
    """What every model shares: immutable, and its values never show up in an error."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    def note(self) -> str:
        """Return a step's answer in a few words, for who looks at the run."""
        return ""


class ProcessInput(Message):
    """The input of a process; one that does not fit fails the run as BadInput instead of hanging it."""

    is_process_input: ClassVar[bool] = True


class FieldError(Message):
    """What is wrong with one field of an input, without its value."""

    field: str
    message: str


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return what pydantic complains of, by field and without values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        FieldError(field=".".join(str(part) for part in problem["loc"]) or "input", message=problem["msg"])
        for problem in problems
    ]


class StepKey(Message):
    """What makes a step's effect happen once: business key, step and generation (the saga's original run id)."""

    business_key: str
    step: str
    generation: str

    def __str__(self) -> str:
        return f"{self.business_key}/{self.step}/{self.generation}"


InputT = TypeVar("InputT", bound=Message)


class Call(Message, Generic[InputT]):
    """One call of a step or of its undo; both carry the key of the step."""

    key: StepKey
    input: InputT
    undo: str | None = None  # the activity that undoes this step; None: nothing to undo
    undo_input: dict[str, Any] | None = None  # what the undo gets instead of the step's own input


class Leftover(Message):
    """A step that an older generation of the same business key left done, with what its undo needs."""

    undo: str
    call: dict[str, Any]

    def as_call(self) -> dict[str, Any]:
        """Return the call of the undo: the step's key, with what was recorded for the undo."""
        return {"key": self.call["key"], "input": self.call["undo_input"] or self.call["input"]}


class Begin(Message, Generic[InputT]):
    """The call of a run's first step: makes its generation the current one."""

    key: StepKey
    input: InputT
    started_at: datetime


class Begun(Message):
    """What a first step answers at least; while there are leftovers it has looked at nothing else."""

    leftovers: list[Leftover] = []


class Nothing(Message):
    """A step's answer that says only that it is done."""


StepState = Literal["pending", "running", "done", "skipped", "failed", "undone", "undo_failed"]
MARKS = {"pending": "·", "running": "▶", "done": "✓", "skipped": "–", "failed": "✗", "undone": "↩", "undo_failed": "‼"}
ProcessState = Literal["running", "compensating", "completed", "compensated", "compensation_failed", "failed"]


class StepProgress(BaseModel):
    """Where one step of a process stands."""

    name: str
    state: StepState = "pending"
    scheduled_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""
    error: str | None = None

    def skip(self, why: str) -> None:
        """Show that the step is not needed."""
        self.state, self.note = "skipped", why


class Progress(BaseModel):
    """Where a process stands: the answer of the query `progress`."""

    state: ProcessState = "running"
    steps: list[StepProgress] = []

    def step(self, name: str) -> StepProgress:
        """Return the step of this name, adding it when the plan does not have it."""
        known = next((step for step in self.steps if step.name == name), None)
        if known is None:
            known = StepProgress(name=name)
            self.steps.append(known)
        return known

    def as_markdown(self) -> str:
        """Return what an operator reads on top of the run in Temporal's UI."""
        lines = [
            f"- {MARKS[step.state]} {step.name}" + "".join(f": {text}" for text in (step.note, step.error) if text)
            for step in self.steps
        ]
        return "\n".join([f"**{self.state}**", "", *lines])


def order_process_id(order_id: str) -> str:
    """Return the only workflow id under which an order is processed; it is the order's business key too."""
    return f"order-processing-{order_id}"


class OrderProcessing(ProcessInput):
    """The input of `order-processing`."""

    order_id: OrderId


class OrderRef(Message):
    """The input of most steps: which order."""

    order_id: str


class InsufficientItem(Message):
    """A variant that stock is short of: whole units requested over all lines, and units that could be made now."""

    variant_id: str
    sku: str
    requested: int
    available: int


class ValidOrder(Begun):
    """What `validate-order` learnt: counts and flags that steer the process."""

    order_id: str = ""
    lines: int = 0
    units: int = 0
    needs_label: bool = False
    has_email: bool = False
    fulfilled: "FulfilledOrder | None" = None  # set when an earlier run has fulfilled it already

    def note(self) -> str:
        """Return how large the order is."""
        return "fulfilled by an earlier run" if self.fulfilled else f"{self.units} units on {self.lines} lines"


class FulfilledOrder(Message):
    """What an earlier run of a fulfilled order has achieved."""

    fulfillment_id: str
    tracking_number: str | None = None
    inventory_reserved: bool = True
    notification_sent: bool = False


class Reserved(Message):
    """What `reserve-inventory` holds: number of reservations and units over all of them."""

    reservations: int
    units: int

    def note(self) -> str:
        """Return how much is held."""
        return f"{self.units} units held"


class Fulfilled(Message):
    """What `create-fulfillment` made; `created` is false when it found a live one."""

    fulfillment_id: str
    units: int
    created: bool = True

    def note(self) -> str:
        """Return how much was taken."""
        return f"{self.units} units taken"


class Label(Message):
    """A bought shipping label."""

    shipment_id: str
    tracking_number: str
    label_url: str = Field("", exclude=True)  # opens a page with the customer's address: stays out of histories

    def note(self) -> str:
        """Return what the parcel is followed by."""
        return f"tracking number {self.tracking_number}"


def shipped_key(order_id: str) -> str:
    """Return the key of the one mail that tells an order's customer that it was shipped."""
    return f"order-shipped/{order_id}"


class Refusal(Message):
    """An order refused for stock: what `record-refusal` writes down."""

    order_id: str
    items: list[InsufficientItem]
    count: int
    at: datetime


class Refused(Message):
    """The shop's calendar day of a refusal; admins are told once per order and day."""

    day: date


class Hold(Message):
    """Why an order must not be picked up by the pending-orders job: a short code, no free text."""

    order_id: str
    reason: str


class Alert(Message):
    """What admins are told; the key makes it happen once."""

    kind: str
    key: str
    severity: Literal["low", "medium", "high"] = "high"
    message: str
    order_id: str | None = None
    job_name: str | None = None
    error: str | None = None


class NotificationRef(Message):
    """Which notification."""

    key: str


class FailedNotification(NotificationRef):
    """A notification that is given up, and why: an error's type, no text from outside."""

    error: str


class Sent(Message):
    """How a notification ended: sent, or skipped because there is nobody to tell."""

    status: Literal["sent", "skipped"]

    def note(self) -> str:
        """Return how it ended."""
        return self.status


class OrderResult(Message):
    """The result of `order-processing`."""

    order_id: str
    status: Literal["fulfilled", "insufficient_inventory"]
    fulfillment_id: str | None = None
    tracking_number: str | None = None
    inventory_reserved: bool = False
    notification_sent: bool = False
    insufficient_items: list[InsufficientItem] = Field(default=[], max_length=MAX_INSUFFICIENT_ITEMS)
    insufficient_count: int = 0
