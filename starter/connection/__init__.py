"""The connection to Temporal: encryption, converters and interceptors, and how calls are made."""
