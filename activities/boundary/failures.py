"""Convert the shop's errors to Temporal failures, and find them again in a process."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from commerce.errors import CommerceError, PermanentError, StepInProgress, TransientError
from commerce.messages.steps import TriesSoFar

IN_PROGRESS_DELAY = timedelta(seconds=5)  # before the next attempt after StepInProgress
FIRST_DELAY = timedelta(milliseconds=500)  # before the next attempt after an error that does not count; then doubled
MAX_DELAY = timedelta(seconds=30)
MAX_OUTAGE_DELAY = timedelta(minutes=5)  # while a service is down that all waiting steps would call
ErrorT = TypeVar("ErrorT", bound=PermanentError)
KindT = TypeVar("KindT", bound=CommerceError)


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


def counts(failure: BaseException) -> bool:
    """Return whether a failed try counts: all but those that the infrastructure or a time limit has ended."""
    inner = innermost(failure)
    return isinstance(inner, ApplicationError) and inner.type not in {
        kind.__name__ for kind in _kinds(TransientError) if not kind.counts
    }


def _kinds(kind: type[KindT]) -> Iterator[type[KindT]]:
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


def run_failure_type(failure: BaseException) -> str:
    """Return the type of the failure that ended a run: that on top, such as CompensationFailed, if it has one."""
    return (isinstance(failure, ApplicationError) and failure.type) or failure_type(failure)


def describe_run_failure(failure: BaseException) -> str:
    """Return `Type: message` of the failure that ended a run, as operators see it in Temporal's UI."""
    return f"{failure.type}: {failure.message}" if isinstance(failure, ApplicationError) else describe(failure)


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


def tries_so_far() -> TriesSoFar:
    """Return the failed tries of the running activity before this one."""
    details = activity.info().heartbeat_details
    try:
        return TriesSoFar.model_validate(details[0]) if details else TriesSoFar()
    except ValidationError:  # the details are of the activity itself
        return TriesSoFar()


def count_try(error: BaseException) -> TriesSoFar:
    """Return the failed tries including this one, which ended with `error`."""
    tries = tries_so_far()
    if isinstance(error, TransientError) and not error.counts:
        outages = tries.outages + 1 if error.service else tries.outages
        return tries.model_copy(update={"outages": outages, "service": error.service or tries.service})
    return TriesSoFar(counted=tries.counted + 1)


class FailureInterceptor(Interceptor):
    """Ends a step by its errors, so that retry policies need not list error classes (E3).

    Every PermanentError becomes a non-retryable failure. So does the last of the tries that the call allows; only
    errors about the item count.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity call."""
        return _FailureInbound(next)


class _FailureInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        limit: int | None = getattr(input.args[0], "tries", None) if input.args else None
        try:
            return await super().execute_activity(input)
        except PermanentError as error:
            raise to_failure(error) from None
        except StepInProgress as error:  # it ends with a lease, so a backoff of minutes would be too long
            _carry(tries_so_far(), limit)
            raise _retryable(error, IN_PROGRESS_DELAY) from None
        except Exception as error:
            tries = count_try(error)
            _carry(tries, limit)
            if isinstance(error, TransientError) and not error.counts:
                raise _retryable(error, _delay(tries if error.service else None)) from None
            if limit is None or tries.counted < limit:
                raise
            raise _last(error) from error


def _carry(tries: TriesSoFar, limit: int | None) -> None:
    """Hand the tries on to the next attempt. Without a limit they are only of use while a service is down."""
    if (limit is not None or tries.outages) and not activity.info().is_local:
        activity.heartbeat(tries)


def _delay(tries: TriesSoFar | None) -> timedelta:
    """Return how long to wait for the infrastructure; longer for a service that is down (`tries`) than for others."""
    failed, longest = (tries.outages, MAX_OUTAGE_DELAY) if tries else (activity.info().attempt, MAX_DELAY)
    return min(FIRST_DELAY * float(2 ** min(failed - 1, 16)), longest)


def _retryable(error: TransientError, delay: timedelta) -> ApplicationError:
    # A local step would hold its workflow task meanwhile; it soon becomes a regular one, which waits.
    wait = None if activity.info().is_local else delay
    return ApplicationError(str(error), type=type(error).__name__, next_retry_delay=wait)


def _last(error: Exception) -> ApplicationError:
    """Return the failure of the last try that the call allows."""
    if isinstance(error, ApplicationError):
        return ApplicationError(error.message, *error.details, type=error.type, non_retryable=True)
    return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
