"""Convert the shop's errors to Temporal failures, and find them again in a process."""

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

IN_PROGRESS_DELAY = timedelta(seconds=5)  # before the next attempt after StepInProgress
ErrorT = TypeVar("ErrorT", bound=PermanentError)


def to_failure(error: PermanentError) -> ApplicationError:
    """Return the error as a non-retryable failure: its type is the name of the class, its details are the data."""
    return ApplicationError(str(error), error.data(), type=type(error).__name__, non_retryable=True)


def cause(failure: BaseException | None, kind: type[ErrorT]) -> ErrorT | None:
    """Return the error of this class among the causes of a failure, or None."""
    while failure is not None:
        if isinstance(failure, ApplicationError) and failure.type == kind.__name__:
            return TypeAdapter(kind).validate_python(failure.details[0])
        failure = failure.__cause__
    return None


def shop_error(failure: BaseException | None) -> PermanentError | None:
    """Return the shop's error that a run failed with, or None if it failed with another."""
    while failure is not None and not isinstance(failure, ApplicationError):
        failure = failure.__cause__
    kinds = {kind.__name__: kind for kind in _kinds(PermanentError)}
    return cause(failure, kinds[failure.type]) if failure and failure.type in kinds else None


def _kinds(kind: type[PermanentError]) -> Iterator[type[PermanentError]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _kinds(subclass)


def describe(failure: BaseException) -> str:
    """Return `Type: message` of the innermost failure. Messages of the shop's errors hold no personal data.

    A failure without a type, such as one of Temporal's own, is described by its message.
    """
    inner = innermost(failure)
    if not isinstance(inner, ApplicationError):
        return f"{type(inner).__name__}: {inner}"
    return f"{inner.type}: {inner.message}" if inner.type else inner.message


def failure_type(failure: BaseException) -> str:
    """Return the type of the innermost failure: the name of its class."""
    inner = innermost(failure)
    return (isinstance(inner, ApplicationError) and inner.type) or type(inner).__name__


def innermost(failure: BaseException) -> BaseException:
    """Return the last failure in the chain of causes."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return failure


def surface(failure: BaseException) -> BaseException:
    """Return the failure with its innermost cause on top, where operators see it in the list of runs."""
    inner = innermost(failure)
    if isinstance(failure, ApplicationError) or not isinstance(inner, ApplicationError):
        return failure
    top = ApplicationError(inner.message, *inner.details, type=inner.type, non_retryable=True)
    top.__cause__ = failure
    return top


class FailureInterceptor(Interceptor):
    """Makes every PermanentError a non-retryable failure, so that retry policies need not list error classes (E3)."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity call."""
        return _FailureInbound(next)


class _FailureInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        try:
            return await super().execute_activity(input)
        except PermanentError as error:
            raise to_failure(error) from None
        except StepInProgress as error:  # it ends with a lease, so a backoff of minutes would be too long
            name = type(error).__name__
            raise ApplicationError(str(error), type=name, next_retry_delay=IN_PROGRESS_DELAY) from None
