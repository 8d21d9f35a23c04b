"""What operators do and see: monitor, retry and cancel, audit, gauges."""
