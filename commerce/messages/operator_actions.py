"""What a person does to a process."""

from typing import Literal

from pydantic import Field

from commerce.messages.base import Message


class Action(Message):
    """Who does what to which process or schedule, and why: free text, which may be personal."""

    process_id: str
    run_id: str = ""
    action: Literal["cancel", "retry", "pause", "resume"]
    reason: str = Field(max_length=1_000)
    actor: str = Field("", max_length=200)
