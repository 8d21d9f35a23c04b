"""Processes as operators see them: one in full, or a page of a list."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from commerce.messages.base import Message
from commerce.messages.progress import ProcessState, StepProgress

RunStatus = Literal["running", "completed", "failed", "cancelled", "terminated", "timed_out"]
StatusFilter = Literal["running", "waiting", "completed", "cancelled", "failed", "stuck"]
RetryableStatus = Literal["failed", "cancelled"]
CancellableStatus = Literal["running", "waiting"]


class StepStatus(StepProgress):
    """A step of a process; `attempts` that were started, 0 also if they are too far back in a long history."""

    attempts: int = 0


class RunProgress(BaseModel):
    """The progress of a process, step by step; an undo that is being attempted is listed as a step."""

    state: ProcessState
    steps: list[StepStatus]


class Run(Message):
    """The latest run of a process; `state` is None if it is not known.

    `outcome`: the status in the result of a completed order or registration. `failure_type`: the type of the error that
    the run failed with. `waiting_for`: the step that waits for an answer from outside.
    """

    transaction_id: str
    run_id: str
    type: str
    status: RunStatus
    state: ProcessState | None
    started_at: datetime
    ended_at: datetime | None = None
    failed_step: str | None = None
    failure_type: str | None = None
    outcome: str | None = None
    waiting_for: str | None = None


class ProcessStatus(Run):
    """The latest run of a process, in full.

    `progress` is None if no worker answers; `progress_missing` is the reason. `error` says why the run failed or is
    stuck. `result` of a completed run is a JSON value. `ui_url` is the run's page in Temporal's UI, if known.
    """

    progress: RunProgress | None = None
    progress_missing: str | None = None
    result: Any = None
    error: str | None = None
    ui_url: str | None = None


class Page(Message):
    """A page of a list of processes, last ended first; `next_cursor` requests the next page, None: there is none.

    A page may be shorter than requested although more follow.
    """

    workflows: list[Run]
    next_cursor: str | None = None


class Retried(Message):
    """A process that was started again, and the id of its new run."""

    transaction_id: str
    run_id: str


class NotRetried(Message):
    """A process that was not started again: the class of the error, and its message."""

    transaction_id: str
    code: str
    error: str


class BulkRetry(Message):
    """The result of a retry of many processes. `workflows`: those selected, last ended first, by the runs that failed.

    After a dry run nothing was retried. `more`: further processes are selected, because of the limit.
    """

    dry_run: bool
    workflows: list[Run]
    more: bool = False
    retried: list[Retried] = Field(default=[])
    refused: list[NotRetried] = Field(default=[])


class Cancelled(Message):
    """A process whose cancellation was requested, and the id of its run."""

    transaction_id: str
    run_id: str


class NotCancelled(Message):
    """A process that was not cancelled: the class of the error, and its message."""

    transaction_id: str
    code: str
    error: str


class BulkCancel(Message):
    """The result of a cancellation of many processes. `workflows`: those selected, by their runs.

    After a dry run nothing was cancelled. `more`: further processes are selected, because of the limit.
    """

    dry_run: bool
    workflows: list[Run]
    more: bool = False
    cancelled: list[Cancelled] = Field(default=[])
    refused: list[NotCancelled] = Field(default=[])
