"""Nothing is forgotten: what is written as a process or a step is run by the worker, under the name others rely on."""

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

CONTRACT = """
    validate-order check-inventory reserve-inventory release-inventory create-fulfillment cancel-fulfillment
    create-shipping-label void-shipping-label complete-order send-notification
    validate-customer-data create-customer delete-customer create-auth-user delete-auth-user assign-customer-group
    remove-from-customer-group send-welcome-email
"""
TUTORIAL = "step-1 step-2 get-product-count"
OUR_OWN = """
    record-refusal hold-order fail-notification alert-admins begin-job list-pending-orders delete-expired-carts
    sync-stock-page collect-day prune-ledger prune-events prune-notifications post-webhook
"""
PROCESSES = """
    order-processing customer-registration cleanup-expired-carts sync-inventory process-pending-orders
    collect-analytics-data upkeep deliver-webhook hello-world product-count
"""
SUMMARY_BYTES = 200  # Temporal's own limit


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def classes(package: ModuleType) -> Iterator[type]:
    for module in modules(package):
        yield from (
            kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__
        )


def written_steps() -> dict[str, Callable[..., Any]]:
    """Return every method in activities/ that is a step, by its name in Temporal."""
    methods = [method for kind in classes(activities) for _, method in inspect.getmembers(kind, inspect.isfunction)]
    definitions = [getattr(method, "__temporal_activity_definition", None) for method in methods]
    return {definition.name: definition.fn for definition in definitions if definition is not None}


def name_of(step: Callable[..., Any]) -> str:
    return str(getattr(step, "__temporal_activity_definition").name)


async def test_the_worker_runs_every_step(database_url: str) -> None:
    async with open_activities(load_settings({"COMMERCE_DATABASE_URL": database_url})) as steps:
        assert sorted(name_of(step) for step in steps) == sorted(written_steps())


def test_the_worker_runs_every_process() -> None:
    written = [kind for kind in classes(workflows) if "__temporal_workflow_definition" in vars(kind)]
    assert set(WORKFLOWS) == set(written)


def test_names_are_those_that_others_rely_on() -> None:
    assert set(written_steps()) == {*CONTRACT.split(), *TUTORIAL.split(), *OUR_OWN.split()}
    assert {getattr(kind, "__temporal_workflow_definition").name for kind in WORKFLOWS} == set(PROCESSES.split())


def test_the_first_line_of_a_step_says_in_temporals_ui_what_it_does() -> None:
    for name, step in written_steps().items():
        summary = (inspect.getdoc(step) or "").split("\n")[0]
        assert 0 < len(summary.encode()) <= SUMMARY_BYTES, name
