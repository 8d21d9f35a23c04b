"""What operators see of processes: one of them in full, or many line by line."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from commerce.messages.base import Message
from commerce.messages.progress import ProcessState, StepProgress

RunStatus = Literal["running", "completed", "failed", "cancelled", "terminated", "timed_out"]
Wanted = Literal["running", "completed", "cancelled", "failed", "stuck"]


class StepStatus(StepProgress):
    """A step of a process; `attempts`: so many were begun, 0 also where that lies too far back in a long history."""

    attempts: int = 0


class RunProgress(BaseModel):
    """Where a process stands, step by step; undos that are being tried are told as steps of their own."""

    state: ProcessState
    steps: list[StepStatus]


class Run(Message):
    """The latest run of a process; `state` is None where nobody has said how it stands."""

    transaction_id: str
    run_id: str
    type: str
    status: RunStatus
    state: ProcessState | None
    started_at: datetime
    ended_at: datetime | None = None
    failed_step: str | None = None


class Status(Run):
    """The same in full.

    `progress` is None with the reason in `progress_missing` when no worker answers. `error` of an open run: why it is
    stuck; `result` of a completed one: a JSON value; `ui_url`: its page in Temporal's UI where its place is known.
    """

    progress: RunProgress | None = None
    progress_missing: str | None = None
    result: Any = None
    error: str | None = None
    ui_url: str | None = None


class Page(Message):
    """Some processes, the latest ended first; `next_cursor`: how to ask for those behind them, None: there are none.

    A page may be shorter than was asked although more follow.
    """

    workflows: list[Run]
    next_cursor: str | None = None
