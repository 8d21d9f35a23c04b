"""Switch tracing on if the settings ask for it; OpenTelemetry's SDK is imported only then."""

from typing import TYPE_CHECKING

from commerce.settings import Settings

if TYPE_CHECKING:
    from starter.telemetry.span_recorder import SpanRecorder

CLI = "commerce-cli"
MAX_FLUSH_SECONDS = 2.0  # how long a program's exit may wait for the collector

_recorder: "SpanRecorder | None" = None


def start(settings: Settings, service: str = CLI) -> "SpanRecorder | None":
    """Return this program's span recorder, or None if tracing is off.

    The first call creates the recorder; `service` is the name that collectors show for the program.
    """
    global _recorder
    if not settings.traces_url:
        return None
    if _recorder is None:
        from starter.telemetry.span_export import create_exporter
        from starter.telemetry.span_recorder import SpanRecorder

        _recorder = SpanRecorder(create_exporter(settings.traces_url), service, sampled=settings.traces_sampled)
    return _recorder


def flush() -> None:
    """Send the remaining spans, for at most MAX_FLUSH_SECONDS."""
    if _recorder:
        _recorder.close(MAX_FLUSH_SECONDS)
