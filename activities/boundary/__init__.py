"""Interceptors around every activity: failures, heartbeats and the log context."""
