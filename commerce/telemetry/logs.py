"""Log configuration: structlog, standard logging and Temporal's core write the same records, as JSON or text."""

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Literal

import structlog

from commerce.plain_text import escape_controls
from commerce.settings import Settings
from commerce.telemetry.redaction import redact_record
from commerce.telemetry.trace_context import current_trace_id

Record = MutableMapping[str, Any]
TRACEBACKS = ("exception", "stack")  # fields of several lines
TEMPORAL_FIELDS = {
    "workflow_id": "workflow_id",
    "workflow_run_id": "run_id",
    "run_id": "run_id",
    "activity_type": "activity",
    "attempt": "attempt",
}


def configure(settings: Settings) -> None:
    """Write all logs of this program to stderr, in the format and at the level of the settings."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _flatten_temporal_fields,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.traces_url:
        shared.append(_add_trace_id)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=_render_processors(settings.log_format)
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # our interceptor logs failed attempts
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name in ("temporalio.worker._activity", "temporalio.worker._workflow"):
        logging.getLogger(name).setLevel(logging.INFO)  # at debug level they log payloads unencrypted


class _Handler(logging.StreamHandler[Any]):
    """Writes log records. One that cannot be formatted is reported without its values, which logging would print."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's own name
        with suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
            self.stream.write(
                f"a log record of {record.name} could not be formatted: {type(sys.exception()).__name__}\n"
            )


def _render_processors(log_format: Literal["console", "json"]) -> list[structlog.typing.Processor]:
    """Return the processors that render a record. Exceptions become text before redaction, so nothing escapes it."""
    renderers: list[structlog.typing.Processor] = [structlog.processors.JSONRenderer()]
    if log_format == "console":
        renderers = [_escape_controls, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return [drop, structlog.processors.format_exc_info, redact_record, *renderers]


def _escape_controls(_logger: Any, _method: str, record: Record) -> Record:
    """Escape what a terminal would obey; only tracebacks keep their lines. JSON escapes it already."""
    return {escape_controls(name): _escape_value(name, value) for name, value in record.items()}


def _escape_value(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return escape_controls(value.rstrip("\n"), keep_lines=name in TRACEBACKS)
    return value  # the renderer shows the repr of other values, which escapes controls


def _add_trace_id(_logger: Any, _method: str, record: Record) -> Record:
    if trace := current_trace_id():
        record["trace_id"] = trace
    return record


def _flatten_temporal_fields(_logger: Any, _method: str, record: Record) -> Record:
    """Replace the SDK's nested extras by our flat fields."""
    for nested in ("temporal_workflow", "temporal_activity", "temporal_log"):
        entry = record.pop(nested, None)
        extra = getattr(entry, "fields", entry)  # the core's records have them as an attribute
        if isinstance(extra, dict):
            record.update({ours: extra[theirs] for theirs, ours in TEMPORAL_FIELDS.items() if theirs in extra})
    return record
