"""Faults of the embedded payment provider."""

from typing import Literal

from pydantic import BaseModel, Field

Operation = Literal["retrieve", "capture", "cancel", "refund", "list"]


class Fault(BaseModel):
    """A fault to inject into an operation, `times` times (null: until it is removed).

    A status: does nothing and responds with it; `402` refuses permanently. `done_500`: carries out the operation, then
    responds with 500. Like the real one, the provider stores each 500 under its Idempotency-Key and replays it. `slow`:
    responds after `seconds`. `cut`: carries out the operation, then cuts the connection without a response.
    """

    operation: Operation
    fault: Literal["401", "402", "403", "409", "424", "429", "500", "503", "done_500", "cut", "slow"]
    times: int | None = Field(None, ge=1)
    payment_intent: str | None = Field(None, description="Only for this payment intent")
    seconds: float = Field(15, ge=0, le=600, description="How long `slow` takes")
    message: str = Field("An error that a test has asked for.", description="What the response says")

    def applies_to(self, operation: Operation, payment_intent: str) -> bool:
        """Return whether to inject this fault into an operation on this payment intent."""
        return self.operation == operation and self.times != 0 and self.payment_intent in (None, payment_intent)


class Faults:
    """The faults to inject, in memory only."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def take(self, operation: Operation, payment_intent: str) -> Fault | None:
        """Return the first fault that applies, and count it down."""
        fault = next((fault for fault in self.all if fault.applies_to(operation, payment_intent)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault
