"""Traces of a process of ours, on by setting; while they are off nothing of OpenTelemetry's SDK is loaded."""

from typing import TYPE_CHECKING

from commerce.settings import Settings

if TYPE_CHECKING:
    from starter.telemetry.span_export import SpanRecorder

CLI = "commerce-cli"
FLUSH = 2.0  # seconds at most that the end of a process waits for the collector

_begun: "SpanRecorder | None" = None


def start(settings: Settings, service: str = CLI) -> "SpanRecorder | None":
    """Return this process's traces, begun under the service's name when first asked for; None while they are off."""
    global _begun
    if not settings.traces_url:
        return None
    if _begun is None:
        from starter.telemetry.span_export import SpanRecorder, exporter

        _begun = SpanRecorder(exporter(settings.traces_url), service, sampled=settings.traces_sampled)
    return _begun


def flush() -> None:
    """Send what is left to send, within a bound."""
    if _begun:
        _begun.close(FLUSH)
