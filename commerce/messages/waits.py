"""Waits: steps that ask something outside the shop and wait, for seconds or weeks, until they are answered."""

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from commerce.messages.base import FieldError, Message, ProcessInput, field_errors
from commerce.messages.steps import StepKey

AnswerKind = Literal["success", "failure", "retry"]
WaitEnd = Literal["success", "failure", "retry", "expired", "withdrawn"]

UPDATE = "answer-step"  # the name of the Temporal Update
ROUND = "/"  # between the name of a step and the number of a later round
MAX_ROUNDS = 20  # how often a step asks; the answer `retry` is refused in the last round
MAX_REASON = 1_000  # characters
MAX_DATA = 100_000  # bytes of JSON


class WaitKey(StepKey):
    """The key of a wait: the step that asks, and which round of asking this is, from 1."""

    round: int = 1

    @property
    def request(self) -> str:
        """The name under which this round's request is a step of the ledger."""
        return self.step if self.round == 1 else f"{self.step}{ROUND}{self.round}"

    @classmethod
    def of(cls, request: StepKey) -> "WaitKey":
        """Return the key of the wait that a step asks for, from the step's own key."""
        step, _, number = request.step.partition(ROUND)
        return cls(**request.model_dump(exclude={"step"}), step=step, round=int(number or 1))


class Answer(Message):
    """An answer.

    `success` has the data that the step asks for, `failure` lets the process undo itself, and `retry` lets the step ask
    again. `reason` is free text that may be personal: it stays in the shop's database.
    """

    answer: AnswerKind
    data: dict[str, Any] | None = None
    reason: str = Field("", max_length=MAX_REASON)

    def digest(self, key: WaitKey, idempotency_key: str | None) -> str:
        """Return the hash that identifies this answer: the same idempotency key means the same answer.

        Without one, the same content does within one round.
        """
        wait: list[Any] = [key.business_key, key.step]
        wait += [idempotency_key] if idempotency_key else [key.generation, key.round, self.model_dump()]
        return hashlib.sha256(json.dumps(wait, sort_keys=True).encode()).hexdigest()


class StepAnswer(ProcessInput):
    """The input of the Update `answer-step`: a step of the process, and its answer.

    `recorded` is set by the API and the command line only: the digest of an answer that they have already recorded. The
    other fields are then left out, so Temporal never gets them.
    """

    step: str = Field(max_length=200)
    answer: AnswerKind | None = None
    data: dict[str, Any] | None = None
    reason: str = Field("", max_length=MAX_REASON)
    recorded: str | None = None


class OpenWait(Message):
    """The input of `open-wait`; `asked_at` and `until` are times of the process, shown to people only."""

    key: WaitKey
    asked_at: datetime
    until: datetime


class CloseWait(OpenWait):
    """The input of `close-wait`. `expired`: the time is over; `withdrawn`: the process no longer wants an answer."""

    end: Literal["expired", "withdrawn"]


class RecordAnswer(Message):
    """The input of `record-answer`: the round that waits, and what the Update has brought."""

    key: WaitKey
    answer: StepAnswer


class EndedWait(Message):
    """How a round ended, as its row says; `data` belongs to `success`."""

    round: int
    kind: WaitEnd
    data: dict[str, Any] | None = None

    def summary(self) -> str:
        """Return how it ended."""
        return self.kind


class TakenAnswer(Message):
    """The result of the Update `answer-step`: the round that the answer belongs to."""

    step: str
    answer: WaitEnd
    round: int


def answer_problems(answer: str | None, data: dict[str, Any] | None, model: type[Message]) -> list[FieldError]:
    """Return what is wrong with an answer to a step whose `success` has the data of `model`; never values."""
    if answer is None:
        return [FieldError(field="answer", message="must be success, failure or retry")]
    if answer != "success":
        return [FieldError(field="data", message="belongs to success only")] if data else []
    if len(json.dumps(data)) > MAX_DATA:
        return [FieldError(field="data", message=f"must be shorter than {MAX_DATA} bytes of JSON")]
    try:
        model.model_validate(data or {})
    except ValidationError as error:
        return [problem.model_copy(update={"field": f"data.{problem.field}"}) for problem in field_errors(error)]
    return []


class AnswerReceipt(Message):
    """An answer that was accepted.

    `taken`: the process has it. `recorded`: it counts, and the process gets it as soon as a worker runs.
    """

    transaction_id: str
    step: str
    answer: AnswerKind
    round: int
    status: Literal["taken", "recorded"]
