"""Everything that starts processes or shows them: client, command line, HTTP API, schedules, subscribers."""
