"""Logs without personal data, trace context, and the names of our metrics."""
