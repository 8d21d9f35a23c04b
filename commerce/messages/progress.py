"""The progress of a process, as its query `progress` returns it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

StepState = Literal["pending", "running", "done", "skipped", "failed", "undone", "undo_failed"]
MARKS = {"pending": "·", "running": "▶", "done": "✓", "skipped": "–", "failed": "✗", "undone": "↩", "undo_failed": "‼"}
ProcessState = Literal["running", "compensating", "completed", "compensated", "compensation_failed", "failed"]


class StepProgress(BaseModel):
    """The progress of one step."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    name: str
    state: StepState = "pending"
    scheduled_at: datetime | None = None
    ended_at: datetime | None = None
    note: str = ""
    error: str | None = None

    @property
    def kind(self) -> str:
        """What operators list and count steps by: `create-shipping-label` for `create-shipping-label/2`."""
        return self.name.partition("/")[0]

    def skip(self, why: str) -> None:
        """Mark the step as not needed."""
        self.state, self.note = "skipped", why


class Progress(BaseModel):
    """The progress of a process: its state and its steps."""

    state: ProcessState = "running"
    steps: list[StepProgress] = []

    def step(self, name: str) -> StepProgress:
        """Return the step of this name; add it if the plan does not have it."""
        found = next((step for step in self.steps if step.name == name), None)
        if found is None:
            found = StepProgress(name=name)
            self.steps.append(found)
        return found

    def insert(self, names: Sequence[str], after: str) -> None:
        """Add steps that the plan does not have, behind the step of this name."""
        known = {step.name for step in self.steps}
        place = next((place for place, step in enumerate(self.steps, 1) if step.name == after), len(self.steps))
        self.steps[place:place] = [StepProgress(name=name) for name in names if name not in known]

    def as_markdown(self) -> str:
        """Return the progress as Temporal's UI shows it above the run."""
        lines = [
            f"- {MARKS[step.state]} {step.name}" + "".join(f": {text}" for text in (step.note, step.error) if text)
            for step in self.steps
        ]
        return "\n".join([f"**{self.state}**", "", *lines])
