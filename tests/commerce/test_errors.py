"""The error tree: drawn in full, every docstring a message, and no loss on the way through Temporal."""

import dataclasses
import string
from typing import Any

import pydantic_core
import pytest
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities.boundary.failures import cause, describe, to_failure
from commerce import errors
from commerce.errors import BadInput, CommerceError, InsufficientInventory, OrderNotFound, PermanentError
from commerce.messages.base import FieldError
from commerce.messages.orders import InsufficientItem


def tree(kind: type[CommerceError]) -> list[type[CommerceError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


OURS = [kind for kind in tree(CommerceError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", OURS)
def test_a_docstring_is_a_message_of_the_errors_own_data(kind: type[CommerceError]) -> None:
    asked = {field for _, field, _, _ in string.Formatter().parse(str(kind.__doc__)) if field}
    known = {field.name for field in dataclasses.fields(kind)}
    assert asked <= known | ({"summary"} if kind is BadInput else set())


def test_the_tree_is_drawn_in_full() -> None:
    assert [kind.__name__ for kind in OURS if kind.__name__ not in str(errors.__doc__)] == []


def test_an_error_comes_back_from_a_failure_with_its_data() -> None:
    short = InsufficientInventory([InsufficientItem(variant_id="v", sku="MUG", requested=3, available=1)], 1)
    failure = failed_step(to_failure(short))
    found = cause(failure, InsufficientInventory)
    assert found is not None and found.items == short.items and found.count == 1
    assert cause(failure, OrderNotFound) is None
    assert describe(failure) == "InsufficientInventory: Stock is too short; variants concerned: 1."


def test_only_permanent_errors_are_not_tried_again() -> None:
    assert to_failure(OrderNotFound("1")).non_retryable
    assert all(
        issubclass(kind, PermanentError) != issubclass(kind, errors.TransientError)
        for kind in OURS
        if kind is not CommerceError
    )


def test_bad_input_names_fields_without_values() -> None:
    error = BadInput([FieldError(field="order_id", message="is missing"), FieldError(field="x", message="is odd")])
    assert str(error) == "The input does not fit: order_id: is missing; x: is odd."


def failed_step(failure: ApplicationError) -> ActivityError:
    """Return what a process catches: the failure as it comes out of a payload, below Temporal's own."""
    details: Any = pydantic_core.from_json(pydantic_core.to_json(failure.details[0]))
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="check-inventory",
        activity_id="1",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    error.__cause__ = ApplicationError(failure.message, details, type=failure.type, non_retryable=True)
    return error
