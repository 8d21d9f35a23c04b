"""docs/contract.md agrees with the code: types, fields, ids, routes, commands, exit codes."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer
from typer.core import TyperGroup

from commerce import outbox
from commerce.messages.customers import REGISTRATION_ID_PREFIX
from commerce.messages.jobs import Counts, ItemFailure
from commerce.messages.orders import InsufficientItem, order_process_id
from commerce.messages.progress import ProcessState, Progress, StepProgress, StepState
from commerce.messages.runs import ProcessStatus
from starter.api.errors import Problem
from starter.api.tokens import OPEN_PATHS
from starter.cli import shared
from starter.cli.app import app
from starter.cli.contract import contract
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.documents import prose, tables
from tests.paths import ROOT
from tests.starter.api.api_client import openapi_document
from workflows.cancel_order import PLAN as CANCEL_PLAN
from workflows.customer_registration import PLAN as REGISTRATION_PLAN
from workflows.engine.calls import name_of
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES
from workflows.order_processing import PLAN as ORDER_PLAN
from workflows.return_order import PLAN as RETURN_PLAN

PAGE = ROOT / "docs" / "contract.md"
TEXT = " ".join(prose(PAGE).split())
CODE = re.compile(r"`([^`]+)`")
OPTIONAL = re.compile(r"\*`([^`]+)`\*")
IN_PARENTHESES = re.compile(r"\([^)]*\)")
INTERNAL_FIELDS = {"resume", "after"}  # set by processes only
DOCUMENT = openapi_document()
CONTRACT = {kind: parts for kind, parts in contract().items() if kind in PROCESS_TYPES}


def table(first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column has this header, by their first cell."""
    [found] = [rows for rows in tables(PAGE) if rows[0][0] == first]
    return {row[0]: row[1:] for row in found[1:]}


def fields(cell: str) -> set[str]:
    return set(CODE.findall(IN_PARENTHESES.sub("", cell)))


def listed(*names: str) -> str:
    """Return names as the page lists them in a sentence."""
    return ", ".join(f"`{name}`" for name in names)


def commands(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_every_type_is_listed() -> None:
    assert set(table("type")) == {f"`{kind}`" for kind in PROCESS_TYPES}
    assert f"Task queue `{TASK_QUEUE}`" in TEXT


@pytest.mark.parametrize("kind", CONTRACT)
def test_inputs_are_listed_with_their_optional_fields(kind: str) -> None:
    cell, schema = table("type")[f"`{kind}`"][0], CONTRACT[kind]["input"]
    assert fields(cell) == set(schema.get("properties", {})) - INTERNAL_FIELDS
    assert set(OPTIONAL.findall(cell)) == fields(cell) - set(schema.get("required", []))


@pytest.mark.parametrize("kind", CONTRACT)
def test_results_are_listed(kind: str) -> None:
    cell = table("type")[f"`{kind}`"][1]
    shared = set(Counts.model_fields) if "the counts" in cell else set()
    assert fields(cell) | shared == set(CONTRACT[kind]["result"]["properties"])


def test_the_parts_of_results_are_listed() -> None:
    *most, last = Counts.model_fields
    assert (
        f"{listed(*most)} and `{last}`, a list of {' and '.join(f'`{name}`' for name in ItemFailure.model_fields)}"
        in TEXT
    )
    *most, last = InsufficientItem.model_fields
    assert f"{listed(*most)} and `{last}`" in TEXT


def test_the_id_of_every_type_is_described() -> None:
    rows = table("the id of")
    described_types = {kind for cell in rows for kind in CODE.findall(cell)}
    jobs = {kind for kind, process in PROCESS_TYPES.items() if process.is_job}
    assert described_types == set(PROCESS_TYPES) - jobs and "a job" in rows
    for prefix in (order_process_id(""), REGISTRATION_ID_PREFIX, "deliver-webhook-"):
        assert any(f"`{prefix}" in row[0] for row in rows.values())


@pytest.mark.parametrize(
    ("process", "plan"),
    [
        ("order-processing", ORDER_PLAN),
        ("cancel-order", CANCEL_PLAN),
        ("return-order", RETURN_PLAN),
        ("customer-registration", REGISTRATION_PLAN),
    ],
)
def test_the_steps_are_listed_in_their_order(process: str, plan: Any) -> None:
    assert CODE.findall(table("process")[f"`{process}`"][0]) == [name_of(step) for step in plan]


def test_states_and_search_attributes_are_listed() -> None:
    assert f"state of a process is one of {listed(*get_args(ProcessState))}" in TEXT
    assert f"that of a step one of {listed(*get_args(StepState))}" in TEXT
    assert f"Search attributes, all of type Keyword: {listed(*SEARCH_ATTRIBUTES)}" in TEXT
    assert all(f"`{name}`" in TEXT for model in (Progress, StepProgress) for name in model.model_fields)


def test_every_route_is_listed() -> None:
    routes = {
        f"`{method.upper()} {path}`"
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        if path not in OPEN_PATHS
    }
    assert set(table("route")) == routes
    assert f"Also *open*: {' and '.join(listed(*OPEN_PATHS).rsplit(', ', 1))}" in TEXT


def test_the_fields_of_a_start_and_of_a_status_are_listed() -> None:
    rows = table("route")
    body = DOCUMENT["components"]["schemas"]["Execute"]["properties"]
    assert set(body) <= fields(rows["`POST /workflows/execute`"][0])
    assert set(ProcessStatus.model_fields) == fields(rows["`GET /workflows/{transaction_id}`"][0])


def test_every_error_status_is_listed() -> None:
    responses = (operation["responses"] for methods in DOCUMENT["paths"].values() for operation in methods.values())
    failures = {status for statuses in responses for status in statuses if int(status) >= 400}
    assert failures <= set(re.findall(r"\d+", " ".join(table("status"))))


def test_the_fields_of_an_error_are_listed() -> None:
    shape = TEXT.partition("Every error has one shape:")[2].partition(".")[0]
    assert set(Problem.model_fields) <= set(CODE.findall(shape))


def test_every_command_is_listed() -> None:
    listed_commands = {name for cell in table("command") for name in CODE.findall(cell)}
    assert listed_commands == set(commands(typer.main.get_command(app)))


def test_every_exit_code_is_listed() -> None:
    codes = {0, shared.FAILED, shared.USAGE, shared.UNREACHABLE, shared.INTERRUPTED}
    assert set(table("exit code")) == {str(code) for code in codes}


def test_every_event_is_listed() -> None:
    assert listed(*outbox.EVENT_NAMES) in TEXT


def test_the_parts_of_an_account_are_listed() -> None:
    parts = CONTRACT["customer-registration"]["result"]["$defs"]
    for name, model in (("customer", "Customer"), ("auth_user", "AuthUser")):
        sentence = TEXT.partition(f"`{name}` has ")[2].partition(";" if name == "customer" else ".")[0]
        assert fields(sentence) == set(parts[model]["properties"])
