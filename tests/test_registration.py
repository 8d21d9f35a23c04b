"""Test that the worker runs every activity and workflow of the code, under the names that clients rely on."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import activities
import workflows
from commerce.settings import load_settings
from worker import WORKFLOWS, open_activities

CONTRACT_ACTIVITIES = """
    validate-order check-inventory reserve-inventory release-inventory create-fulfillment cancel-fulfillment
    create-shipping-label void-shipping-label complete-order send-notification
    validate-customer-data create-customer delete-customer create-auth-user delete-auth-user assign-customer-group
    remove-from-customer-group send-welcome-email find-customer erase-customer confirm-address
    withdraw-confirmation
"""
TUTORIAL_ACTIVITIES = "step-1 step-2 get-product-count"
OTHER_ACTIVITIES = """
    record-refusal hold-order fail-notification alert-admins begin-job list-pending-orders
    close-generation find-lost-steps
    delete-expired-carts sync-stock-page collect-day recount-day prune-ledger prune-events prune-notifications
    post-webhook cancel-fulfillments open-wait close-wait record-answer review-order
    refund-payment refund-at-shop note-refund capture-payment refund-capture
    await-pick withdraw-pick record-short-pick
    begin-cancellation offer-cancellation mark-cancelling check-parcels void-label restock-order complete-cancellation
    keep-order
    begin-return register-return close-return create-return-label void-return-label await-return check-receipt
    receive-return complete-return
"""
PROCESS_TYPES = """
    order-processing cancel-order return-order customer-registration forget-customer cleanup-expired-carts
    sync-inventory
    process-pending-orders
    collect-analytics-data upkeep deliver-webhook hello-world product-count
"""
MAX_SUMMARY_BYTES = 200  # Temporal's limit


def import_modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def defined_classes(package: ModuleType) -> Iterator[type]:
    for module in import_modules(package):
        yield from (cls for _, cls in inspect.getmembers(module, inspect.isclass) if cls.__module__ == module.__name__)


def defined_activities() -> dict[str, Callable[..., Any]]:
    """Return the activities defined in activities/, by their names in Temporal."""
    methods = [
        method for cls in defined_classes(activities) for _, method in inspect.getmembers(cls, inspect.isfunction)
    ]
    definitions = [getattr(method, "__temporal_activity_definition", None) for method in methods]
    return {definition.name: definition.fn for definition in definitions if definition is not None}


def activity_name(activity: Callable[..., Any]) -> str:
    return str(getattr(activity, "__temporal_activity_definition").name)


async def test_the_worker_runs_every_activity(database_url: str) -> None:
    async with open_activities(load_settings({"COMMERCE_DATABASE_URL": database_url})) as registered:
        assert sorted(activity_name(activity) for activity in registered) == sorted(defined_activities())


def test_the_worker_runs_every_workflow() -> None:
    defined = [cls for cls in defined_classes(workflows) if "__temporal_workflow_definition" in vars(cls)]
    assert set(WORKFLOWS) == set(defined)


def test_activities_and_process_types_have_the_names_that_clients_rely_on() -> None:
    assert set(defined_activities()) == {
        *CONTRACT_ACTIVITIES.split(),
        *TUTORIAL_ACTIVITIES.split(),
        *OTHER_ACTIVITIES.split(),
    }
    assert {getattr(cls, "__temporal_workflow_definition").name for cls in WORKFLOWS} == set(PROCESS_TYPES.split())


def test_an_activitys_docstring_gives_a_summary_that_temporals_ui_can_show() -> None:
    for name, activity in defined_activities().items():
        summary = (inspect.getdoc(activity) or "").split("\n")[0]
        assert 0 < len(summary.encode()) <= MAX_SUMMARY_BYTES, name
