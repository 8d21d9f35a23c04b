"""How the shop's errors cross into Temporal, and how a process gets them back."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import TypeAdapter
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from commerce.errors import PermanentError, StepInProgress

IN_PROGRESS_DELAY = timedelta(seconds=5)
ErrorT = TypeVar("ErrorT", bound=PermanentError)


def to_failure(error: PermanentError) -> ApplicationError:
    """Return the non-retryable failure of this error: its class name as type, its data as details."""
    return ApplicationError(str(error), error.data(), type=type(error).__name__, non_retryable=True)


def cause(failure: BaseException | None, kind: type[ErrorT]) -> ErrorT | None:
    """Return the shop's error of this class that lies below a failure, or None."""
    while failure is not None:
        if isinstance(failure, ApplicationError) and failure.type == kind.__name__:
            return TypeAdapter(kind).validate_python(failure.details[0])
        failure = failure.__cause__
    return None


def shop_error(failure: BaseException | None) -> PermanentError | None:
    """Return the shop's own error that a run ended with, or None when it ended with another."""
    while failure is not None and not isinstance(failure, ApplicationError):
        failure = failure.__cause__
    kinds = {kind.__name__: kind for kind in _kinds(PermanentError)}
    return cause(failure, kinds[failure.type]) if failure and failure.type in kinds else None


def _kinds(kind: type[PermanentError]) -> Iterator[type[PermanentError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def describe(failure: BaseException) -> str:
    """Return `Type: message` of the innermost failure; the shop's messages hold nothing personal."""
    inner = innermost(failure)
    return f"{failure_type(inner)}: {inner.message if isinstance(inner, ApplicationError) else inner}"


def failure_type(failure: BaseException) -> str:
    """Return the type of the innermost failure: the name of the error's class."""
    inner = innermost(failure)
    return (isinstance(inner, ApplicationError) and inner.type) or type(inner).__name__


def innermost(failure: BaseException) -> BaseException:
    """Return the failure at the end of the chain of causes."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return failure


def surface(failure: BaseException) -> BaseException:
    """Return a failure that says at its top what lies at its bottom, for who looks at the run."""
    inner = innermost(failure)
    if isinstance(failure, ApplicationError) or not isinstance(inner, ApplicationError):
        return failure
    top = ApplicationError(inner.message, *inner.details, type=inner.type, non_retryable=True)
    top.__cause__ = failure
    return top


class FailureInterceptor(Interceptor):
    """Turns every PermanentError of a step into a non-retryable failure, by ancestry: retry policies list no names."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the call of every activity."""
        return _FailureInbound(next)


class _FailureInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        try:
            return await super().execute_activity(input)
        except PermanentError as error:
            raise to_failure(error) from None
        except StepInProgress as error:  # it is over within a lease: a backoff of minutes would only lose time
            name = type(error).__name__
            raise ApplicationError(str(error), type=name, next_retry_delay=IN_PROGRESS_DELAY) from None
