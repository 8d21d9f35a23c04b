"""How our processes speak with Temporal: one plugin for client, worker and replayer alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    PayloadConverter,
)
from temporalio.exceptions import FailureError
from temporalio.plugin import SimplePlugin
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.boundary.failures import FailureInterceptor, to_failure
from activities.boundary.heartbeat import HeartbeatInterceptor
from activities.boundary.log_context import LogInterceptor
from commerce.errors import BadInput, MissingKey
from commerce.messages.base import FieldError, field_errors
from starter.connection.encryption import Encryption
from workflows.engine.input_check import InputInterceptor

if TYPE_CHECKING:
    from starter.telemetry.span_export import SpanRecorder

# Loaded once and shared by all runs, instead of anew for each run in its sandbox.
PASSED_THROUGH = (
    "activities",  # referred to by method only; brings SQLAlchemy along, which costs a second to load
    "commerce",  # messages and errors: plain data
    "pydantic",  # models must be the same classes inside and outside
    "pydantic_core",
    "annotated_types",
    "structlog",  # 40 ms to load
    "opentelemetry",  # finds its context by reading files, which the sandbox forbids
    "starter",  # where the payload converter is from
)


class _JsonConverter(PydanticJSONPlainPayloadConverter):
    """Reads the input of a process so that one that does not fit fails the run, naming fields and never values."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        try:
            return super().from_payload(payload, type_hint)
        except ValidationError as error:
            if not getattr(type_hint, "is_process_input", False):
                raise
            raise to_failure(BadInput(field_errors(error))) from None


# One for all: the SDK makes a payload converter per task, and each would learn every model's schema anew.
_JSON = _JsonConverter()
_ENCODINGS = tuple(
    _JSON if known.encoding == _JSON.encoding else known
    for known in DefaultPayloadConverter.default_encoding_payload_converters
)


class _PayloadConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*_ENCODINGS)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Read inputs; one of a process whose encoding nobody here knows fails its run too, instead of hanging it."""
        try:
            return super().from_payloads(payloads, type_hints)
        except FailureError:
            raise
        except (KeyError, RuntimeError, ValueError) as error:
            if not any(getattr(hint, "is_process_input", False) for hint in type_hints or ()):
                raise
            problem = FieldError(field="input", message=f"it cannot be read ({type(error).__name__})")
            raise to_failure(BadInput([problem])) from None


class _FailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Lets messages and stack traces of failures be encrypted, but not the one that only a missing key could show."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        if isinstance(exception, MissingKey):
            failure.message, failure.application_failure_info.type = str(exception), type(exception).__name__
        else:
            super().to_failure(exception, payload_converter, failure)


def plugin(codec: Encryption, tracing: "SpanRecorder | None" = None) -> SimplePlugin:
    """Return the converter, the interceptors and the sandbox that all of our processes use; traces if they are on."""
    converter = DataConverter(
        payload_converter_class=_PayloadConverter,
        failure_converter_class=_FailureConverter if codec.encrypts else DefaultFailureConverter,
        payload_codec=codec,
    )
    return SimplePlugin(
        "commerce",
        data_converter=converter,
        interceptors=[
            *_spans(tracing),
            LogInterceptor(),
            HeartbeatInterceptor(),
            FailureInterceptor(),
            InputInterceptor(),
        ],
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
        ),
    )


def _spans(tracing: "SpanRecorder | None") -> list[Any]:
    if tracing is None:
        return []
    from starter.telemetry.process_spans import ProcessSpans  # loads OpenTelemetry's SDK

    return [ProcessSpans(tracing)]
