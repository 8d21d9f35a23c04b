"""Logs of every process in one shape: structlog, standard logging and Temporal's core, as JSON or for a console."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

from commerce.settings import Settings

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
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=_rendering(settings.log_format))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)  # our own interceptor tells of failed attempts
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _rendering(form: Literal["console", "json"]) -> list[structlog.typing.Processor]:
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if form == "json":
        return [drop, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # a rich one would be loaded anew for each run of a process that logs one
    return [drop, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _lift_temporal(_logger: Any, _method: str, event: Event) -> Event:
    """Turn the SDK's nested extras into our few flat fields."""
    for nested in ("temporal_workflow", "temporal_activity", "temporal_log"):
        entry = event.pop(nested, None)
        extra = getattr(entry, "fields", entry)  # the core's entries carry theirs as an attribute
        if isinstance(extra, dict):
            event.update({ours: extra[theirs] for theirs, ours in TEMPORAL_FIELDS.items() if theirs in extra})
    return event
