"""The call of a step or undo, and the leftovers that a run finds of an older one."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import Field

from commerce.messages.base import Message

InputT = TypeVar("InputT", bound=Message)


class StepKey(Message):
    """The key under which a step takes effect once; the generation is the id of the run that began the saga or job."""

    business_key: str
    step: str
    generation: str

    def __str__(self) -> str:
        return f"{self.business_key}/{self.step}/{self.generation}"


class Call(Message, Generic[InputT]):
    """The call of a step or of its undo; both have the step's key."""

    key: StepKey
    input: InputT
    undo: str | None = None  # the activity that undoes this step; None: nothing to undo
    undo_input: dict[str, Any] | None = None  # the undo's input, if it is not the step's
    tries: int | None = None  # how many failed tries that count end the step; None: any number is allowed
    asks_for_cancel: bool = False  # its first attempt asks Temporal for a cancel that the process has not seen yet

    def for_undo(self) -> dict[str, Any]:
        """Return the call of the undo, which the ledger stores, unlike the step's input, which may hold a secret."""
        undo_input = self.input.model_dump(mode="json") if self.undo and self.undo_input is None else self.undo_input
        return {"key": self.key.model_dump(), "input": undo_input}


class TriesSoFar(Message):
    """The failed tries of a step until now: those that count, and the latest ones in a row at which a service was down.

    They travel from try to try as heartbeat details, because Temporal counts every try.
    """

    counted: int = 0
    outages: int = 0
    service: str = ""  # that was down at the last of the outages


class Leftover(Message):
    """A step to undo: the undo activity and its call."""

    undo: str
    call: dict[str, Any]


class UndoableSteps(Message):
    """The steps that the current run has done or may have done, with their undos; newest first.

    `final`: the final step of the run, if that is done. There is nothing to undo then.
    """

    steps: list[Leftover]
    final: str | None = None


class Begin(Message, Generic[InputT]):
    """The call of a run's first step, which makes the run's generation the current one.

    `started_at` is read only by workers of an older version.
    """

    key: StepKey
    input: InputT
    started_at: datetime


class BeginResult(Message):
    """The base of a first step's result. If there are leftovers, the step has done nothing else yet.

    `generation`: that of all later steps of the run, also after a reset to a later event. Older histories have none.
    """

    generation: str = ""
    leftovers: list[Leftover] = Field(default=[])
