"""The embedded servers that one command starts: PostgreSQL, Temporal, mail, carrier, worker and API."""
