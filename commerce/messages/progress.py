"""Where a process stands: the answer of the query `progress`."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

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
