"""The sandbox of Temporal's SDK, in which tests run all processes: it refuses what is not deterministic.

Installed workers run processes without it, which takes 10 ms less per order.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

# Imported once and shared by all runs, instead of once per run in its sandbox.
PASSED_THROUGH = (
    "activities",  # workflows only refer to its methods; it imports SQLAlchemy, which takes a second
    "commerce",  # workflows only use its messages and errors
    "pydantic",  # models must be the same classes inside and outside
    "pydantic_core",
    "annotated_types",
    "structlog",  # takes 40 ms to import
    "opentelemetry",  # reads files to set up its context, which the sandbox forbids
    "starter",  # defines the payload converter
)
RESTRICTIONS = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)


@dataclass(frozen=True)
class Sandbox(SandboxedWorkflowRunner):
    """Checks each workflow once per test run, not once per worker. Each run has a sandbox of its own."""

    restrictions: SandboxRestrictions = RESTRICTIONS
    prepared: ClassVar[set[type]] = set()

    def prepare_workflow(self, defn: Any) -> None:
        if defn.cls not in self.prepared:
            super().prepare_workflow(defn)
            self.prepared.add(defn.cls)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = super().create_instance(det)
        # Our converters need no context; the SDK would enter the sandbox to ask for it, several times per payload.
        instance.get_serialization_context = lambda _: None  # type: ignore[method-assign]
        return instance
