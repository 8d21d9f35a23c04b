"""Redacted logs, trace context, and the names of our metrics."""
