"""One Temporal plugin for clients, workers and replayers: converters, encryption, interceptors."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    PayloadConverter,
)
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError
from temporalio.plugin import SimplePlugin
from temporalio.worker import UnsandboxedWorkflowRunner, WorkerConfig

from activities.boundary.cancels import CancelInterceptor
from activities.boundary.failures import FailureInterceptor, to_failure
from activities.boundary.heartbeat import HeartbeatInterceptor
from activities.boundary.log_context import LogInterceptor
from commerce.address_digests import NO_DIGESTS, AddressDigests
from commerce.errors import BadInput, CommerceError, MissingKey
from commerce.messages.base import FieldError, field_errors
from commerce.version import NAME, VERSION
from starter.connection.encryption import Encryption
from workflows.engine.input_check import InputInterceptor

if TYPE_CHECKING:
    from starter.telemetry.span_recorder import SpanRecorder


class _JsonConverter(PydanticJSONPlainPayloadConverter):
    """Fails a run permanently if its input is invalid; the error names the fields and never the values."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        try:
            return super().from_payload(payload, type_hint)
        except ValidationError as error:
            if not getattr(type_hint, "is_process_input", False):
                raise
            raise to_failure(BadInput(field_errors(error))) from None


# Shared, because the SDK creates a payload converter per task, and each would build every model's schema again.
_JSON = _JsonConverter()
_ENCODINGS = tuple(
    _JSON if known.encoding == _JSON.encoding else known
    for known in DefaultPayloadConverter.default_encoding_payload_converters
)


class _PayloadConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*_ENCODINGS)

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Decode inputs. A process input in an unknown encoding fails the run too, instead of blocking it."""
        try:
            return super().from_payloads(payloads, type_hints)
        except FailureError:
            raise
        except (KeyError, RuntimeError, ValueError) as error:
            if not any(getattr(hint, "is_process_input", False) for hint in type_hints or ()):
                raise
            problem = FieldError(field="input", message=f"cannot be decoded ({type(error).__name__})")
            raise to_failure(BadInput([problem])) from None


class _FailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Encrypts messages and stack traces of failures, and leaves a readable message instead.

    That of MissingKey is not encrypted at all: its reader would lack the same key.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        if isinstance(exception, MissingKey):
            failure.message, failure.application_failure_info.type = str(exception), type(exception).__name__
        else:
            super().to_failure(exception, payload_converter, failure)
            failure.message = _readable_message(exception)


def _readable_message(exception: BaseException) -> str:
    """Return what may be readable of a failure: the shop's own message, which holds no personal data, or its type."""
    if isinstance(exception, (ActivityError, ChildWorkflowError)):
        return exception.message  # the SDK's own
    kind = (isinstance(exception, ApplicationError) and exception.type) or type(exception).__name__
    if kind in _SHOP_ERRORS:
        return exception.message if isinstance(exception, FailureError) else str(exception)
    return f"{kind} (its message is encrypted)"


def _names_of(kind: type[CommerceError]) -> Iterator[str]:
    yield kind.__name__
    for subclass in kind.__subclasses__():
        yield from _names_of(subclass)


_SHOP_ERRORS = frozenset(_names_of(CommerceError))


class ShopPlugin(SimplePlugin):
    """The plugin of our programs. It also knows how to make the ids of processes about an address.

    `confirms_addresses`: whether registrations wait until their address is proven. `console_url`: where runs lead to
    from Temporal's UI.
    """

    address_digests: AddressDigests = NO_DIGESTS
    confirms_addresses: bool = False
    console_url: str | None = None

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Name the build of a worker."""
        if not config.get("deployment_config"):  # without a name, the SDK hashes the code of all modules: 1.7 s of CPU
            config["build_id"] = config.get("build_id") or f"{NAME} {VERSION}"
        return super().configure_worker(config)


def plugin_of(client: Client) -> ShopPlugin | type[ShopPlugin]:
    """Return a client's plugin; for a client of another program what stands for one without settings."""
    plugins = client.config()["plugins"]
    return next((plugin for plugin in plugins if isinstance(plugin, ShopPlugin)), ShopPlugin)


def create_plugin(
    codec: Encryption,
    spans: "SpanRecorder | None" = None,
    address_digests: AddressDigests = NO_DIGESTS,
    *,
    confirms_addresses: bool = False,
    console_url: str | None = None,
) -> ShopPlugin:
    """Create the plugin that all of our programs use; spans are recorded if `spans` is given."""
    converter = DataConverter(
        payload_converter_class=_PayloadConverter,
        failure_converter_class=_FailureConverter if codec.encrypts else DefaultFailureConverter,
        payload_codec=codec,
    )
    plugin = ShopPlugin(
        "commerce",
        data_converter=converter,
        interceptors=[
            *_span_interceptors(spans),
            LogInterceptor(),
            HeartbeatInterceptor(),
            FailureInterceptor(),
            CancelInterceptor(),
            InputInterceptor(),
        ],
        # The sandbox takes 10 ms per order, and tests have run all processes in it (tests/conftest.py).
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    plugin.address_digests, plugin.confirms_addresses = address_digests, confirms_addresses
    plugin.console_url = console_url
    return plugin


def _span_interceptors(spans: "SpanRecorder | None") -> list[Any]:
    if spans is None:
        return []
    from starter.telemetry.process_spans import ProcessSpans  # imports OpenTelemetry's SDK

    return [ProcessSpans(spans)]
