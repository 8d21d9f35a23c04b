"""Buffer the spans of a step or request until it ends, so that no child is exported without its parent."""

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

EXPORT_INTERVAL = 1_000  # milliseconds; a killed program loses the spans since the last export
MAX_QUEUED = 8_192  # spans waiting for export; more are dropped
MAX_BUFFERED = 1_000  # spans of one step; a step with more is no longer buffered


class BufferedSpanProcessor(BatchSpanProcessor):
    """Holds back the spans of a step or request until its root span ends: if it is killed, none of them is exported."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter, max_queue_size=MAX_QUEUED, schedule_delay_millis=EXPORT_INTERVAL)
        self._subtrees: dict[int, _Subtree] = {}  # by the ids of their open spans

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Add a span to its parent's subtree, or start a new one."""
        of_parent = span.parent and self._subtrees.get(span.parent.span_id)
        subtree = of_parent or _Subtree(span.context.span_id)
        subtree.open_spans.add(span.context.span_id)
        self._subtrees[span.context.span_id] = subtree

    def on_end(self, span: ReadableSpan) -> None:
        """Hold a span back, or export it together with those held back."""
        own, parent = span.context, span.parent
        subtree = self._subtrees.pop(own.span_id, None) or (parent and self._subtrees.get(parent.span_id))
        for ended in subtree.add(span) if subtree else [span]:
            super().on_end(ended)
        if subtree:
            subtree.open_spans.discard(own.span_id)
        if subtree and subtree.root == own.span_id:
            for never_ended in subtree.open_spans:
                self._subtrees.pop(never_ended, None)


class _Subtree:
    """A step or request: the id of its root span, the ids of its open spans, and the spans held back."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.open_spans: set[int] = set()
        self._buffered: list[ReadableSpan] | None = []  # None: no longer buffered

    def add(self, span: ReadableSpan) -> list[ReadableSpan]:
        """Add a span that has ended, and return the spans that may now be exported."""
        if (buffered := self._buffered) is None:
            return [span]
        buffered.append(span)
        if span.context.span_id != self.root and len(buffered) < MAX_BUFFERED:
            return []
        self._buffered = None
        return buffered
