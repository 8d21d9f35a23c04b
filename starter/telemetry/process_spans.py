"""Spans of processes and their steps: one tree from the caller of a process down to each attempt of a step.

The span of a run is recorded when the run ends, by the worker where it ends, but steps need its id as their parent
from the start. So its id is derived from run ids, which every worker and every replay knows. The span survives the
death of any worker.
"""

import asyncio
from functools import cached_property
from hashlib import sha256
from typing import Any, NoReturn

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind
from temporalio import activity, client, workflow
from temporalio.client import StartWorkflowInput, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from activities.boundary.failures import describe
from commerce.telemetry import trace_context
from commerce.telemetry.redaction import redact_text
from starter.telemetry.span_recorder import NO_ERROR, SpanRecorder, error_status
from starter.telemetry.trace_headers import read_parent, with_parent

WORKFLOW_ID, RUN_ID = "temporalWorkflowID", "temporalRunID"  # the names that Temporal's own tracing uses


class ProcessSpans(client.Interceptor, Interceptor):
    """Records a span for each start, each run of a process, and each attempt of a step."""

    def __init__(self, recorder: SpanRecorder) -> None:
        self._recorder = recorder

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        """Record the starts of every client."""
        return _ClientOutbound(next, self._recorder)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Record each attempt of every activity."""
        return _ActivityInbound(next, self._recorder)

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Return the class whose instance records a run."""
        return type("_RecordedWorkflow", (_WorkflowInbound,), {"recorder": self._recorder})


class _ClientOutbound(client.OutboundInterceptor):
    def __init__(self, next: client.OutboundInterceptor, recorder: SpanRecorder) -> None:  # noqa: A002
        super().__init__(next)
        self._recorder = recorder

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        name, attributes = f"start {input.workflow}", {WORKFLOW_ID: redact_text(input.id)}
        with self._recorder.span(name, SpanKind.PRODUCER, attributes) as span:
            input.headers = with_parent(span.get_span_context(), input.headers)
            try:
                return await super().start_workflow(input)
            except WorkflowAlreadyStartedError:
                raise  # not an error: the caller expects it
            except Exception as error:
                span.set_status(error_status(type(error).__name__))
                raise


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, recorder: SpanRecorder) -> None:  # noqa: A002
        super().__init__(next)
        self._recorder = recorder

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        info = activity.info()
        attributes: dict[str, str | int] = {
            WORKFLOW_ID: redact_text(info.workflow_id or ""),
            RUN_ID: info.workflow_run_id or "",
            "temporalActivityID": info.activity_id,
            "attempt": info.attempt,
            "local": info.is_local,
        }
        token = context.attach(trace_context.process_context(read_parent(input.headers)))
        try:
            with self._recorder.span(info.activity_type, SpanKind.SERVER, attributes) as span:
                try:
                    return await super().execute_activity(input)
                except Exception as error:
                    span.set_status(error_status(describe(error)))
                    raise
        finally:
            context.detach(token)


class _WorkflowInbound(WorkflowInboundInterceptor):
    recorder: SpanRecorder

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_WorkflowOutbound(outbound, self))

    @cached_property
    def parent(self) -> SpanContext:
        """The span that started this run; invalid if unknown, as for runs started by a schedule."""
        return read_parent(workflow.info().headers)

    @cached_property
    def span(self) -> SpanContext:
        """The span of this run. After a reset it has the same id, so that it stays the parent of earlier steps."""
        info = workflow.info()
        digest = sha256(f"{info.first_execution_run_id} {info.continued_run_id}".encode()).digest()
        span_id, trace_id = int.from_bytes(digest[:8]), int.from_bytes(digest[8:24])
        if self.parent.is_valid:
            return SpanContext(self.parent.trace_id, span_id, is_remote=True, trace_flags=self.parent.trace_flags)
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=self.recorder.trace_flags(trace_id))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's own name
        # For log records; the context ends with the workflow task.
        context.attach(trace.set_span_in_context(NonRecordingSpan(self.span)))
        try:
            result = await super().execute_workflow(input)
        except workflow.ContinueAsNewError:
            self._record()
            raise
        except asyncio.CancelledError:
            self._record("CancelledError")
            raise
        except Exception as error:
            if workflow.is_failure_exception(error):
                self._record(describe(error))
            raise
        self._record()
        return result

    def _record(self, error: str = "") -> None:
        """Record the span of this run, unless this is a replay; eviction from the worker's cache counts as one."""
        if workflow.unsafe.is_replaying():
            return
        info = workflow.info()
        attributes = {WORKFLOW_ID: redact_text(info.workflow_id), RUN_ID: info.run_id}
        started = int(info.workflow_start_time.timestamp() * 1e9)
        with workflow.unsafe.sandbox_unrestricted():
            status = error_status(error) if error else NO_ERROR
            self.recorder.record(info.workflow_type, self.span, self.parent, started, attributes, status=status)


class _WorkflowOutbound(WorkflowOutboundInterceptor):
    """Sends the run's span as the parent with all calls; this does not change the workflow's commands."""

    def __init__(self, next: WorkflowOutboundInterceptor, inbound: _WorkflowInbound) -> None:  # noqa: A002
        super().__init__(next)
        self._inbound = inbound

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = with_parent(self._inbound.span, input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = with_parent(self._inbound.span, input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = with_parent(self._inbound.span, input.headers)
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        """Give the next run the same parent as this one, or, if there is none, this run itself."""
        parent = self._inbound.parent if self._inbound.parent.is_valid else self._inbound.span
        input.headers = with_parent(parent, input.headers)
        super().continue_as_new(input)
