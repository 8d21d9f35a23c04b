"""Logs of every process in one shape: structlog, standard logging and Temporal's core, as JSON or for a console."""

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Literal

import structlog

from commerce.settings import Settings
from commerce.telemetry.redaction import redact_record
from commerce.telemetry.trace_context import current_trace_id

Event = MutableMapping[str, Any]
TEMPORAL_FIELDS = {
    "workflow_id": "workflow_id",
    "workflow_run_id": "run_id",
    "run_id": "run_id",
    "activity_type": "activity",
    "attempt": "attempt",
}


def configure(settings: Settings) -> None:
    """Send all logs of this process to stderr as the settings say."""
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _lift_temporal,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.traces_url:
        before.append(_trace)
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=_rendering(settings.log_format))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # our own interceptor tells of failed attempts
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name in ("temporalio.worker._activity", "temporalio.worker._workflow"):
        logging.getLogger(name).setLevel(logging.INFO)  # at debug they print whole payloads in clear


class _Handler(logging.StreamHandler[Any]):
    """Writes lines; of one that cannot be made it tells no more than that: logging itself would print its values."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's own name
        with suppress(OSError, ValueError):  # nobody reads on, or the stream is closed already
            self.stream.write(f"a log line of {record.name} was lost: {sys.exc_info()[0]}\n")


def _rendering(form: Literal["console", "json"]) -> list[structlog.typing.Processor]:
    """Return what makes a line: exceptions become text first, so that nothing is written that was not redacted."""
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return [drop, structlog.processors.format_exc_info, redact_record, renderer]


def _trace(_logger: Any, _method: str, event: Event) -> Event:
    if trace := current_trace_id():
        event["trace_id"] = trace
    return event


def _lift_temporal(_logger: Any, _method: str, event: Event) -> Event:
    """Turn the SDK's nested extras into our few flat fields."""
    for nested in ("temporal_workflow", "temporal_activity", "temporal_log"):
        entry = event.pop(nested, None)
        extra = getattr(entry, "fields", entry)  # the core's entries carry theirs as an attribute
        if isinstance(extra, dict):
            event.update({ours: extra[theirs] for theirs, ours in TEMPORAL_FIELDS.items() if theirs in extra})
    return event
