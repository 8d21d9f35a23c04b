"""The jobs' Temporal Schedules: the table of jobs, queries, operators' actions, and bringing Temporal in line."""
