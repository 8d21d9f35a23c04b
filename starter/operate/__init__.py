"""Operate processes: status, lists and counts, retry and cancel, the audit, and the gauges for Prometheus."""
