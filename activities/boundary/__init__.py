"""Interceptors around every activity: failures, cancels, heartbeats and the log context."""
