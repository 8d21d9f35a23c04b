"""Test `customer-registration` from start to end, with a real worker, database and mail server."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from commerce.errors import BadInput, CustomerAlreadyExists, ProcessFailed, RegistrationInProgress
from commerce.messages.customers import CustomerRegistration, RegistrationResult, registration_process_id
from starter.client import register_customer, start
from starter.entries import Registration
from starter.operate.actions import cancel
from starter.processes import TASK_QUEUE
from tests.faults import Faults, Gate, Where
from tests.running_shop import RunningShop, running_shop
from workflows.customer_registration import CustomerRegistrationWorkflow

ANN = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
CALLERS = 50
COUNT_ROWS = """
    SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM auth_users)
         + (SELECT count(*) FROM customer_group_members) + (SELECT count(*) FROM outbox_events)
         + (SELECT count(*) FROM notifications)
"""
REGISTERED_CUSTOMERS = """
    SELECT email, first_name, has_account, provider_id, customer_groups.name FROM customers
    JOIN auth_users ON auth_users.customer_id = customers.id
    JOIN customer_group_members AS member ON member.customer_id = customers.id
    JOIN customer_groups ON customer_groups.id = group_id
"""


@pytest.fixture
async def idle_shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop without a worker, for tests that start their own."""
    async with running_shop(tmp_path, database_url, client) as shop:
        yield shop


@pytest.fixture
async def shop(idle_shop: RunningShop) -> AsyncIterator[RunningShop]:
    """A shop with a worker."""
    async with idle_shop.worker():
        yield idle_shop


async def register(shop: RunningShop, **changes: str) -> RegistrationResult:
    return await register_customer(shop.client, **(ANN | changes))


def registration_handle(shop: RunningShop, email: str = ANN["email"]) -> WorkflowHandle[Any, Any]:
    return shop.client.get_workflow_handle_for(CustomerRegistrationWorkflow.run, registration_process_id(email))


async def start_registration(shop: RunningShop) -> WorkflowHandle[Any, Any]:
    return await start(shop.client, "customer-registration", Registration.model_validate(ANN))


async def test_a_customer_gets_an_account_a_login_a_group_and_a_welcome_mail(shop: RunningShop) -> None:  # (A6)
    result = await register(shop, email=" Ann@SHOP.example ", first_name=" Zoe\u0308 ")
    assert result.customer.email == "ann@shop.example" and result.customer.first_name == "Zoë"
    assert result.auth_user.provider_id == "emailpass" and result.email_sent and result.group_assigned
    assert await shop.data.sql(REGISTERED_CUSTOMERS) == [
        ("ann@shop.example", "Zoë", True, "emailpass", "default_customers")
    ]
    assert [(kind, data["customer_id"]) for kind, _, data in await shop.data.events()] == [
        ("customer.created", result.customer.id)
    ]
    [mail] = shop.mails("welcome")
    assert mail["To"] == "ann@shop.example" and mail["Subject"] == "Welcome to Shop"
    described = await registration_handle(shop).describe()
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes.search_attributes}
    assert found["CustomerId"] == result.customer.id and found["Outcome"] == "registered"
    assert await shop.findings() == []


async def test_an_address_can_be_registered_only_once(shop: RunningShop) -> None:  # (A4)
    await register(shop)
    with pytest.raises(CustomerAlreadyExists):
        await register(shop, email="ANN@shop.example", first_name="Another")
    assert await shop.data.sql("SELECT first_name FROM customers") == ["Ann"]
    assert len(shop.mails("welcome")) == 1
    assert await shop.findings() == []


async def test_concurrent_registrations_of_one_address_create_one_account(shop: RunningShop) -> None:  # (A1)
    results = await asyncio.gather(*(register(shop) for _ in range(CALLERS)), return_exceptions=True)
    types = Counter(type(result) for result in results)
    assert types.pop(RegistrationResult) == 1
    assert set(types) <= {CustomerAlreadyExists, RegistrationInProgress} and types.total() == CALLERS - 1
    assert len(await shop.data.sql(REGISTERED_CUSTOMERS)) == 1 and len(shop.mails("welcome")) == 1
    assert await shop.findings() == []


async def test_many_customers_can_register_at_the_same_time(shop: RunningShop) -> None:
    addresses = [f"customer-{number}@shop.example" for number in range(CALLERS)]
    results = await asyncio.gather(*(register(shop, email=address) for address in addresses))
    assert all(result.email_sent for result in results)
    assert sorted(mail["To"] for mail in shop.mails("welcome")) == sorted(addresses)
    assert len(await shop.data.sql(REGISTERED_CUSTOMERS)) == CALLERS
    assert await shop.findings() == []


@pytest.mark.parametrize(
    ("step", "where"),
    [
        ("validate-customer-data", "before"),
        ("create-customer", "before"),
        ("create-customer", "after"),
        ("create-auth-user", "before"),
        ("create-auth-user", "after"),
        ("assign-customer-group", "before"),
    ],
)
async def test_a_failed_registration_leaves_no_rows_and_the_next_one_succeeds(
    idle_shop: RunningShop, step: str, where: Where
) -> None:  # (A4)
    faults = Faults({step: where})
    async with idle_shop.worker([faults]):
        with pytest.raises(ProcessFailed, match=f"{step} is refused"):
            await register(idle_shop)
        assert await idle_shop.data.sql(COUNT_ROWS) == [0]
        assert await idle_shop.findings() == []
        faults.steps.clear()
        assert (await register(idle_shop)).email_sent
        assert len(await idle_shop.data.sql(REGISTERED_CUSTOMERS)) == 1
        assert await idle_shop.findings() == []


@pytest.mark.parametrize("step", ["create-customer", "create-auth-user", "assign-customer-group"])
async def test_the_next_run_undoes_the_leftovers_of_a_terminated_run(idle_shop: RunningShop, step: str) -> None:
    gate = Gate(step)
    async with idle_shop.worker([gate]):
        run = await start_registration(idle_shop)
        await gate.reached.wait()
        await run.terminate()
        assert (await register(idle_shop)).email_sent
        gate.opened.set()  # the step of the terminated run continues too late
    assert len(await idle_shop.data.sql(REGISTERED_CUSTOMERS)) == 1 and len(idle_shop.mails("welcome")) == 1
    assert len(await idle_shop.data.events()) == 1
    assert await idle_shop.findings() == []


async def test_a_cancelled_registration_is_undone_and_the_reason_is_stored(idle_shop: RunningShop) -> None:
    async with idle_shop.worker([gate := Gate("create-auth-user")]):
        run = await start_registration(idle_shop)
        await gate.reached.wait()
        await cancel(
            idle_shop.client, idle_shop.database, run.id, reason="Ann called and changed her mind", actor="bob"
        )
        gate.opened.set()
        with pytest.raises(WorkflowFailureError):
            await run.result()
    assert (await run.describe()).status == WorkflowExecutionStatus.CANCELED
    assert await idle_shop.data.sql(COUNT_ROWS) == [0]
    assert await idle_shop.data.sql("SELECT process_id, action, reason, actor FROM operator_actions") == [
        (run.id, "cancel", "Ann called and changed her mind", "bob")
    ]


async def test_a_guest_who_registers_keeps_their_orders(shop: RunningShop) -> None:  # (A2)
    guest = "INSERT INTO customers (email) VALUES ('ann@shop.example') RETURNING id"
    [guest_id] = await shop.data.sql(guest)
    await shop.data.order("1", columns={"customer_id": guest_id, "email": "ann@shop.example"})
    result = await register(shop)
    assert result.customer.id == str(guest_id)
    assert await shop.data.sql("SELECT id FROM orders WHERE customer_id = :id", id=guest_id) == ["1"]
    assert await shop.findings() == []


async def test_a_failed_registration_leaves_the_guest_unchanged(idle_shop: RunningShop) -> None:
    [guest_id] = await idle_shop.data.sql("INSERT INTO customers (email) VALUES ('ann@shop.example') RETURNING id")
    async with idle_shop.worker([Faults({"create-auth-user": "after"})]):
        with pytest.raises(ProcessFailed):
            await register(idle_shop)
    columns = "SELECT id, has_account, first_name, last_name, registered_at FROM customers"
    assert await idle_shop.data.sql(columns) == [(guest_id, False, None, None, None)]


async def test_a_refused_welcome_mail_keeps_the_account_and_alerts_the_admins(shop: RunningShop) -> None:  # (A6)
    result = await register(shop, email="ann@refused.example")
    assert not result.email_sent and result.group_assigned
    assert len(await shop.data.sql(REGISTERED_CUSTOMERS)) == 1
    [alert] = shop.mails("notification-failed")
    assert "ann@" not in alert.as_string()
    assert await shop.findings() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "ann at shop.example"}, "email"),
        ({"email": "аnn@shop.example"}, "email"),  # the first letter is Cyrillic
        ({"email": "ann@shоp.example"}, "email"),  # the o is Cyrillic
        ({"password": "7 chars"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"first_name": " "}, "first_name"),
        ({"last_name": "x" * 10_000}, "last_name"),
        ({"last_name": "Mil\nler"}, "last_name"),
    ],
)
async def test_bad_input_is_refused_before_the_start_and_its_error_names_the_field_without_the_value(
    idle_shop: RunningShop, changes: dict[str, str], field: str
) -> None:
    with pytest.raises(BadInput) as caught:
        await register(idle_shop, **changes)
    assert [problem.field for problem in caught.value.fields] == [field]
    assert changes[field].strip() == "" or changes[field] not in str(caught.value)


async def test_html_in_a_name_is_escaped_in_the_mail(shop: RunningShop) -> None:
    await register(shop, first_name="<b>Ann</b>")
    html = shop.mails("welcome")[0].get_body(("html",))
    assert html is not None and "&lt;b&gt;Ann&lt;/b&gt;" in html.get_content()


GOOD_HASH = "$argon2id$v=19$m=65536,t=3,p=4$" + "c2FsdHNhbHRzYWx0c2FsdA" + "$" + "A" * 43


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"password_hash": "correct horse battery"}, "password_hash"),
        ({"password_hash": None}, "password_hash"),
        ({"email": "no address"}, "email"),
        ({"first_name": ""}, "first_name"),
        ({"last_name": "x" * 10_000}, "last_name"),
    ],
)
async def test_bad_input_from_a_plain_client_fails_the_run_and_its_error_names_the_field_without_the_value(
    shop: RunningShop, changes: dict[str, Any], field: str
) -> None:
    request = {"email": "ann@shop.example", "password_hash": GOOD_HASH, "first_name": "Ann", "last_name": "M"} | changes
    run = await shop.client.start_workflow(
        "customer-registration", request, id=registration_process_id(request["email"]), task_queue=TASK_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError) and cause.type == "BadInput"
    assert [problem["field"] for problem in cause.details[0]["fields"]] == [field]
    assert not changes[field] or changes[field] not in f"{cause.message} {cause.details}"


async def test_a_registration_under_another_process_id_is_refused(shop: RunningShop) -> None:
    request = CustomerRegistration(email=ANN["email"], password_hash=GOOD_HASH, first_name="Ann", last_name="Miller")
    run = await shop.client.start_workflow("customer-registration", request, id="mine", task_queue=TASK_QUEUE)
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "WrongProcessId"
    assert await shop.data.sql(COUNT_ROWS) == [0]
