"""Spans of processes and their steps: one tree from who starts a process down to each attempt of a step.

A process's span is told of when the process ends, by whichever worker it ends in, yet steps name it as their parent
from the beginning: its id is made from ids of runs, so every worker and every replay knows it. A worker that is killed
takes no span with it that another one names.
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
from starter.telemetry.span_export import FINE, SpanRecorder, failed
from starter.telemetry.trace_headers import read_parent, with_parent

WORKFLOW_ID, RUN_ID = "temporalWorkflowID", "temporalRunID"  # as Temporal's own tracing calls them


class ProcessSpans(client.Interceptor, Interceptor):
    """Makes a span of each start, each run of a process, and each attempt of a step."""

    def __init__(self, tracing: SpanRecorder) -> None:
        self._tracing = tracing

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002
        """Wrap the calls of every client."""
        return _Starts(next, self._tracing)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the call of every activity."""
        return _Step(next, self._tracing)

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Name the wrapper of each run."""
        return type("_TracedProcess", (_Process,), {"tracing": self._tracing})


class _Starts(client.OutboundInterceptor):
    def __init__(self, next: client.OutboundInterceptor, tracing: SpanRecorder) -> None:  # noqa: A002
        super().__init__(next)
        self._tracing = tracing

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        name, about = f"start {input.workflow}", {WORKFLOW_ID: redact_text(input.id)}
        with self._tracing.span(name, SpanKind.PRODUCER, about) as span:
            input.headers = with_parent(span.get_span_context(), input.headers)
            try:
                return await super().start_workflow(input)
            except WorkflowAlreadyStartedError:
                raise  # whoever asked knows what that means
            except Exception as error:
                span.set_status(failed(type(error).__name__))
                raise


class _Step(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, tracing: SpanRecorder) -> None:  # noqa: A002
        super().__init__(next)
        self._tracing = tracing

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        info = activity.info()
        about: dict[str, str | int] = {
            WORKFLOW_ID: redact_text(info.workflow_id or ""),
            RUN_ID: info.workflow_run_id or "",
            "temporalActivityID": info.activity_id,
            "attempt": info.attempt,
        }
        token = context.attach(trace_context.process_context(read_parent(input.headers)))
        try:
            with self._tracing.span(info.activity_type, SpanKind.SERVER, about) as span:
                try:
                    return await super().execute_activity(input)
                except Exception as error:
                    span.set_status(failed(describe(error)))
                    raise
        finally:
            context.detach(token)


class _Process(WorkflowInboundInterceptor):
    tracing: SpanRecorder

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Calls(outbound, self))

    @cached_property
    def parent(self) -> SpanContext:
        """Who started this run; invalid when that is not known, as with schedules."""
        return read_parent(workflow.info().headers)

    @cached_property
    def span(self) -> SpanContext:
        """This run, known by those before it: so a reset goes on under the same id, which earlier steps have named."""
        info = workflow.info()
        digest = sha256(f"{info.first_execution_run_id} {info.continued_run_id}".encode()).digest()
        span_id, trace_id = int.from_bytes(digest[:8]), int.from_bytes(digest[8:24])
        if self.parent.is_valid:
            return SpanContext(self.parent.trace_id, span_id, is_remote=True, trace_flags=self.parent.trace_flags)
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=self.tracing.flags(trace_id))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's own name
        context.attach(trace.set_span_in_context(NonRecordingSpan(self.span)))  # for log lines; ends with the task
        try:
            result = await super().execute_workflow(input)
        except workflow.ContinueAsNewError:
            self._tell()
            raise
        except asyncio.CancelledError:
            self._tell("CancelledError")
            raise
        except Exception as error:
            if workflow.is_failure_exception(error):
                self._tell(describe(error))
            raise
        self._tell()
        return result

    def _tell(self, error: str = "") -> None:
        """Tell of this run, unless it is only looked at again or leaves this worker's memory: both count as replay."""
        if workflow.unsafe.is_replaying():
            return
        info = workflow.info()
        about = {WORKFLOW_ID: redact_text(info.workflow_id), RUN_ID: info.run_id}
        began = int(info.workflow_start_time.timestamp() * 1e9)
        with workflow.unsafe.sandbox_unrestricted():
            status = failed(error) if error else FINE
            self.tracing.tell(info.workflow_type, self.span, self.parent, began, about, status=status)


class _Calls(WorkflowOutboundInterceptor):
    """Names the run as parent of all that it calls; commands are the same with and without."""

    def __init__(self, next: WorkflowOutboundInterceptor, process: _Process) -> None:  # noqa: A002
        super().__init__(next)
        self._process = process

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = with_parent(self._process.span, input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        input.headers = with_parent(self._process.span, input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = with_parent(self._process.span, input.headers)
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        """Let the next run stand beside this one, below the first when nobody started that."""
        begun_by = self._process.parent if self._process.parent.is_valid else self._process.span
        input.headers = with_parent(begun_by, input.headers)
        super().continue_as_new(input)
