"""What surrounds every activity: failures, heartbeats and the log context."""
