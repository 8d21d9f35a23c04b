"""Processes: they decide which step comes next, and do nothing else."""
