"""The names of undos are stored in the ledger, so a name must be known for as long as a ledger may hold it."""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from temporalio import activity

from activities.boundary.former_names import FORMER_NAMES, under_former_names
from activities.inventory import InventoryActivities
from commerce.database import Database
from commerce.settings import load_settings
from tests.replay.record import HISTORIES
from worker import activities_of, open_activities

# All undos that a ledger may name. Add new ones; never remove one: if an undo is renamed, its former name goes into
# FORMER_NAMES in activities/boundary/former_names.py.
UNDO_NAMES = {
    "release-inventory",
    "cancel-fulfillment",
    "cancel-fulfillments",
    "void-shipping-label",
    "delete-customer",
    "delete-auth-user",
    "remove-from-customer-group",
    "withdraw-confirmation",
    "withdraw-pick",
    "refund-capture",
    "close-return",
    "void-return-label",
}


def name_of(method: object) -> str:
    name: str = getattr(method, "__temporal_activity_definition").name
    return name


def undos_in(value: Any) -> Iterator[str]:
    """Yield the undos that the payloads of a history name."""
    if isinstance(value, dict):
        if isinstance(value.get("undo"), str):
            yield value["undo"]
        if isinstance(value.get("data"), str):
            yield from undos_in(json.loads(b64decode(value["data"]) or b"null"))
        for part in value.values():
            yield from undos_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from undos_in(part)


async def test_every_undo_that_a_ledger_may_name_is_registered(database_url: str) -> None:
    settings = load_settings({"COMMERCE_DATABASE_URL": database_url})
    async with open_activities(settings) as activities:
        registered = {name_of(method) for method in activities}
    assert registered >= UNDO_NAMES
    assert registered >= set(FORMER_NAMES), "a present name in FORMER_NAMES is no activity"


def test_every_undo_of_the_recorded_histories_is_listed() -> None:
    recorded = {undo for path in HISTORIES.iterdir() for undo in undos_in(json.loads(path.read_text()))}
    assert recorded and recorded <= UNDO_NAMES


def test_a_renamed_activity_is_available_under_its_former_name(database: Database) -> None:
    methods = activities_of(InventoryActivities(database))
    [renamed] = under_former_names(methods, {"free-stock": "release-inventory", "other": "of another class"})
    [present] = [method for method in methods if name_of(method) == "release-inventory"]
    former, now = (activity._Definition.must_from_callable(each) for each in (renamed, present))
    assert (former.name, former.arg_types, former.ret_type) == ("free-stock", now.arg_types, now.ret_type)
