"""How a step is called, and what one run of a process finds left of another."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import Field

from commerce.messages.base import Message

InputT = TypeVar("InputT", bound=Message)


class StepKey(Message):
    """What makes a step's effect happen once: business key, step and generation (the saga's original run id)."""

    business_key: str
    step: str
    generation: str

    def __str__(self) -> str:
        return f"{self.business_key}/{self.step}/{self.generation}"


class Call(Message, Generic[InputT]):
    """One call of a step or of its undo; both carry the key of the step."""

    key: StepKey
    input: InputT
    undo: str | None = None  # the activity that undoes this step; None: nothing to undo
    undo_input: dict[str, Any] | None = None  # what the undo gets instead of the step's own input

    def for_undo(self) -> dict[str, Any]:
        """Return the call of the undo: all of a step that is kept, so that an input with a secret need not be."""
        own = self.input.model_dump(mode="json") if self.undo and self.undo_input is None else self.undo_input
        return {"key": self.key.model_dump(), "input": own}


class Leftover(Message):
    """A step that has to be undone, in this generation or left by an older one: the undo and its call."""

    undo: str
    call: dict[str, Any]


class Begin(Message, Generic[InputT]):
    """The call of a run's first step: makes its generation the current one."""

    key: StepKey
    input: InputT
    started_at: datetime


class Begun(Message):
    """What a first step answers at least; while there are leftovers it has looked at nothing else."""

    leftovers: list[Leftover] = Field(default=[])
