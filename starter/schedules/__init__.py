"""The jobs' Temporal Schedules: the table of jobs, applying it to Temporal, queries, and operators' actions."""
