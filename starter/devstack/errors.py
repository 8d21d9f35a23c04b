"""All errors of the embedded stack, and the exit codes of `commerce up` that they lead to."""

FAILED, USAGE, UNREACHABLE = 1, 2, 3


class StackError(Exception):
    """The embedded stack cannot run; the message is one line, `code` the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class PostgresError(StackError):
    """The embedded PostgreSQL cannot be set up; the message is one line."""
