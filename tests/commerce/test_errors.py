"""The error tree: complete, with messages made of the errors' own data, and carried through Temporal without loss."""

import ast
import builtins
import dataclasses
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pydantic_core
import pytest
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from activities.boundary.failures import cause, describe, to_failure
from commerce import errors
from commerce.errors import (
    BadInput,
    CommerceError,
    InsufficientInventory,
    MissingKey,
    OrderNotFound,
    PermanentError,
    ProcessFailed,
    SettingsError,
    TransientError,
    UnknownVariant,
)
from commerce.messages.base import FieldError
from commerce.messages.orders import InsufficientItem
from tests.paths import ROOT

PACKAGES = ("activities", "commerce", "starter", "workflows")
TREES = ("commerce.errors", "starter.devstack.errors")
BUILTIN_ERRORS = {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}


def tree(kind: type[CommerceError]) -> list[type[CommerceError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


OURS = [kind for kind in tree(CommerceError) if kind.__module__ == errors.__name__]


class ClassSource(NamedTuple):
    """A class statement found in our sources."""

    module: str
    name: str
    bases: frozenset[str]
    docstring: str


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of ours, parsed."""
    for path in (ROOT / "worker.py", *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))):
        yield module_name(path), ast.parse(path.read_text())


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def error_classes() -> list[ClassSource]:
    """Return every class that derives from a built-in exception, however many classes of ours are between."""
    classes = [
        ClassSource(module, node.name, frozenset(map(base_name, node.bases)), ast.get_docstring(node) or "")
        for module, source in sources()
        for node in ast.walk(source)
        if isinstance(node, ast.ClassDef)
    ]
    names = set(BUILTIN_ERRORS)
    while found := {known.name for known in classes if known.bases & names} - names:
        names |= found
    return [known for known in classes if known.bases & names]


def base_name(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""


def test_every_error_is_in_a_tree_or_private_to_its_package() -> None:
    modules = [(module, references(source)) for module, source in sources()]  # this takes most of the time
    outside = [known for known in error_classes() if known.module not in TREES]
    assert [known for known in outside if "private to" not in known.docstring.lower()] == []
    for known in outside:
        package = known.module.rpartition(".")[0]
        users = {module for module, found in modules if uses(found, known)}
        assert {module for module in users if not f"{module}.".startswith(f"{package}.")} == set(), known.name


def references(source: ast.Module) -> list[ast.ImportFrom | ast.Attribute]:
    return [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom | ast.Attribute)]


def uses(references: list[ast.ImportFrom | ast.Attribute], known: ClassSource) -> bool:
    """Return whether a module with these references imports this class, or takes it from its module."""
    package, _, own_module = known.module.rpartition(".")
    for node in references:
        if isinstance(node, ast.ImportFrom):
            if str(node.module).startswith(package) and known.name in {alias.name for alias in node.names}:
                return True
        elif node.attr == known.name and ast.unparse(node) == f"{own_module}.{known.name}":
            return True
    return False


def test_every_failure_type_in_the_code_is_an_error_of_the_tree() -> None:
    types = {
        keyword.value.value
        for _, source in sources()
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and base_name(node.func) == "ApplicationError"
        for keyword in node.keywords
        if keyword.arg == "type" and isinstance(keyword.value, ast.Constant)
    }
    assert types - {kind.__name__ for kind in OURS} == {"CompensationFailed"}
    assert "CompensationFailed" in str(errors.__doc__)


@pytest.mark.parametrize("kind", OURS)
def test_a_docstring_is_a_message_made_of_the_errors_own_data(kind: type[CommerceError]) -> None:
    used = {field for _, field, _, _ in string.Formatter().parse(str(kind.__doc__)) if field}
    known = {field.name for field in dataclasses.fields(kind)}
    assert used <= known or "data" in vars(kind)  # of its own, such as a summary


def test_the_module_docstring_draws_the_whole_tree() -> None:
    assert [kind.__name__ for kind in OURS if kind.__name__ not in str(errors.__doc__)] == []


def test_an_error_comes_back_from_a_failure_with_its_data() -> None:
    short = InsufficientInventory([InsufficientItem(variant_id="v", sku="MUG", requested=3, available=1)], 1)
    failure = failed_step(to_failure(short))
    found = cause(failure, InsufficientInventory)
    assert found is not None and found.items == short.items and found.count == 1
    assert cause(failure, OrderNotFound) is None
    assert describe(failure) == "InsufficientInventory: There is not enough stock of 1 variant."


def test_an_error_is_either_permanent_or_transient_or_about_settings() -> None:
    assert to_failure(OrderNotFound("1")).non_retryable
    branches = (PermanentError, TransientError, SettingsError)
    assert all(sum(issubclass(kind, branch) for branch in branches) == 1 for kind in OURS if kind is not CommerceError)


def test_bad_input_names_fields_without_values() -> None:
    error = BadInput([FieldError(field="order_id", message="is missing"), FieldError(field="x", message="is odd")])
    assert str(error) == "Invalid input: order_id: is missing; x: is odd."


@pytest.mark.parametrize(("count", "lines"), [(1, "1 line"), (2, "2 lines"), (0, "0 lines"), (1_200, "1,200 lines")])
def test_a_count_in_a_message_has_the_right_plural(count: int, lines: str) -> None:
    assert str(UnknownVariant("7", "TEA", count)).startswith(f"Order 7 has {lines} with an unknown SKU, first 'TEA'; ")


def test_a_message_that_ends_with_another_message_has_one_full_stop() -> None:
    assert str(ProcessFailed("p", str(OrderNotFound("7")))) == "Process p failed: Order 7 does not exist."


def test_a_missing_key_is_named_without_odd_characters_from_the_payload() -> None:
    shown = "a?b" + "c" * 61
    assert str(MissingKey("a\nb" + "c" * 100)) == (
        f"Encryption key {shown} is missing: add it to COMMERCE_ENCRYPTION_KEYS"
    )


def failed_step(failure: ApplicationError) -> ActivityError:
    """Return what a process catches: Temporal's activity error around the failure, serialized and read back."""
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
