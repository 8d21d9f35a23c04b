"""Scenarios with customers and orders whose data contain the words of leak_words."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from commerce.errors import CustomerAlreadyExists, ProcessFailed
from commerce.messages.cancellations import CancelOrder
from commerce.messages.customers import REGISTRATION_ID_PREFIX
from commerce.messages.forgetting import ForgetCustomer
from commerce.messages.orders import order_process_id
from commerce.messages.returns import AWAIT, ReturnOrder
from commerce.messages.waits import Answer
from starter.client import register_customer, start
from starter.entries import Registration
from starter.operate.actions import cancel
from starter.operate.answers import answer
from starter.processes import TASK_QUEUE
from starter.schedules.actions import pause
from tests.polling import until
from tests.running_shop import RunningShop, wait_for_end
from tests.system import leak_words as words
from tests.system.leak_worker import BUGGY
from tests.system.workers import wait_until

STEPS = ("validate-customer-data", "create-customer", "create-auth-user", "assign-customer-group")
PERSON = {"first_name": words.FIRST, "last_name": words.LAST}
WORKFLOW_TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
SECONDS = 120
REVIEW = "review-order"


@dataclass(frozen=True)
class Setup:
    """A shop with one worker, in which the scenarios run. `name` makes the ids and addresses unique."""

    shop: RunningShop
    name: str
    markers: Path

    def address(self, scenario: str, domain: str = "shop.example") -> str:
        return f"{words.CUSTOMER_PREFIX}-{self.name}-{scenario}@{domain}"

    @property
    def faults(self) -> dict[str, str]:
        """Return the worker's faults by process id, see leak_worker."""
        failing_steps = {self.registration(step): step for step in STEPS}
        waiting_steps = {self.registration(scenario): "create-auth-user waits" for scenario in WAITING}
        return (
            failing_steps | waiting_steps | {order_process_id(f"{self.name}-cancelled"): "create-shipping-label waits"}
        )

    def registration(self, scenario: str) -> str:
        digests = self.shop.settings.address_digests
        return digests.process_ids(REGISTRATION_ID_PREFIX, self.address(scenario))[0]

    async def register(self, address: str) -> None:
        await register_customer(self.shop.client, email=address, password=words.PASSWORD, **PERSON)

    async def start_registration(self, address: str) -> WorkflowHandle[Any, Any]:
        request = PERSON | {"email": address, "password": words.PASSWORD}
        return await start(self.shop.client, "customer-registration", Registration.model_validate(request))

    async def wait_until_waiting(self, process: str) -> None:
        await wait_until((self.markers / process).exists, SECONDS, lambda: f"{process} does not wait")

    def let_continue(self, process: str) -> None:
        (self.markers / f"{process} continues").touch()

    async def create_order(self, scenario: str, **columns: str) -> str:
        """Create a guest's order; return its id."""
        defaults = {
            "email": f"{words.BUYER_PREFIX}@shop.example",
            "shipping_name": words.RECIPIENT,
            "shipping_address1": words.STREET,
            "shipping_city": "London",
            "shipping_zip": "N1 9GU",
            "shipping_phone": words.PHONE,
        }
        await self.shop.data.order(f"{self.name}-{scenario}", MUG=1, columns=defaults | columns)
        return f"{self.name}-{scenario}"

    async def start_review(self, scenario: str) -> str:
        """Start an order that waits for a review; return its process id when it waits."""
        order_id = await self.create_order(scenario, risk_level="high")
        run = await self.shop.start(order_id)

        async def waiting() -> bool | None:
            return (await self.shop.progress(order_id)).state == "waiting" or None

        await until(waiting)
        return run.id

    async def cancel(self, process: str) -> None:
        """Cancel a waiting process as an operator does, and let it continue."""
        await self.wait_until_waiting(process)
        await cancel(self.shop.client, self.shop.database, process, reason=words.REASON, actor=words.ACTOR)
        self.let_continue(process)
        await wait_for_end(self.shop.client.get_workflow_handle(process))


async def registering_twice(setup: Setup) -> None:
    """A registration succeeds; a second one with the same address fails."""
    await setup.register(setup.address("registered"))
    with pytest.raises(CustomerAlreadyExists):
        await setup.register(setup.address("registered"))


async def registering_as_guest(setup: Setup) -> None:
    """A customer who bought as a guest gets an account."""
    address = setup.address("guest")
    await setup.shop.data.sql("INSERT INTO customers (email) VALUES (:address)", address=address)
    await setup.register(address)


async def customer_forgotten(setup: Setup) -> None:
    """A customer is forgotten, and a client asks for somebody whom the shop does not know."""
    address = setup.address("forgotten")
    await setup.register(address)
    for email in (address, address, setup.address("unknown")):
        run = await start(setup.shop.client, "forget-customer", ForgetCustomer(email=email))
        await wait_for_end(run)
    assert await setup.shop.data.sql("SELECT count(*) FROM customers WHERE email = :a", a=address) == [0]


async def welcome_mail_refused(setup: Setup) -> None:
    """The mail server refuses the welcome mail, and admins are alerted."""
    await setup.register(setup.address("no-welcome", "refused.example"))


async def each_step_failing(setup: Setup) -> None:
    """Each step fails in one registration, with personal data in its error."""
    refusals = await asyncio.gather(*(setup.register(setup.address(step)) for step in STEPS), return_exceptions=True)
    assert {type(refusal) for refusal in refusals} == {ProcessFailed}, refusals


async def registration_cancelled(setup: Setup) -> None:
    """A registration gets an unknown signal and an unknown query, and an operator cancels it."""
    run = await setup.start_registration(setup.address("cancelled"))
    await run.signal("no-such-signal", {"email": setup.address("signal"), **PERSON})
    with pytest.raises(WorkflowQueryFailedError):
        await run.query("no-such-query", {"email": setup.address("query"), **PERSON})
    await setup.cancel(run.id)


async def registration_interrupted(setup: Setup) -> None:
    """A registration is terminated in the middle and started anew."""
    run = await setup.start_registration(setup.address("interrupted"))
    await setup.wait_until_waiting(run.id)
    await run.terminate()
    await setup.register(setup.address("interrupted"))
    setup.let_continue(run.id)


async def malformed_inputs(setup: Setup) -> None:
    """A client sends inputs that are neither valid registrations nor valid orders."""
    address = setup.address("malformed")
    good = PERSON | {"email": address, "password_hash": words.HASH}
    inputs: list[list[Any]] = [
        [good | {"password_hash": words.PASSWORD_AS_HASH}],
        [good | {"first_name": {"is": words.FIRST}, "last_name": [words.LAST], "email": [address]}],
        [PERSON | {"email": address}],
        [good, good],
        [f"{words.FIRST} {words.LAST} <{address}>"],
        [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=f'{{"email": "{address}", '.encode()))],
        [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=f'"{address}'.encode() + b'\xff"'))],
        [RawValue(Payload(metadata={"encoding": b"our/own"}, data=address.encode()))],
    ]
    for kind in ("customer-registration", "order-processing"):
        for number, arguments in enumerate(inputs):
            run = f"{kind}-{setup.name}-malformed-{number}"
            with pytest.raises(WorkflowFailureError) as failed:
                await setup.shop.client.execute_workflow(kind, args=arguments, id=run, task_queue=TASK_QUEUE)
            assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == "BadInput"


async def order_fulfilled(setup: Setup) -> None:
    """A guest's order is fulfilled and the mail is sent."""
    assert (await setup.shop.process(await setup.create_order("fulfilled"))).notification_sent


async def order_refused(setup: Setup) -> None:
    """The carrier does not ship to the order's country, and admins are alerted."""
    await setup.shop.expect_failure(await setup.create_order("refused", shipping_country="AQ"))


async def order_mail_refused(setup: Setup) -> None:
    """The buyer's mail server refuses the mail, and admins are alerted."""
    local, _, _ = words.BUYER_PREFIX.partition("@")
    assert not (
        await setup.shop.process(await setup.create_order("no-mail", email=f"{local}@refused.example"))
    ).notification_sent


async def order_cancelled(setup: Setup) -> None:
    """An operator cancels an order."""
    run = await setup.shop.start(await setup.create_order("cancelled"))
    await setup.cancel(run.id)


async def order_taken_back(setup: Setup) -> None:
    """An order is fulfilled and taken back; its payment is refunded at the shop, as somebody notes with a reason."""
    order_id = await setup.create_order("taken-back")
    await setup.shop.process(order_id)
    run = await start(setup.shop.client, "cancel-order", CancelOrder(order_id=order_id))

    async def waiting() -> bool | None:
        return (await run.query("progress"))["state"] == "waiting" or None

    await until(waiting)
    done = Answer(answer="success", reason=words.REASON)
    await answer(setup.shop.client, setup.shop.database, run.id, "refund-at-shop", done, by=words.ACTOR)
    await run.result()


async def order_returned(setup: Setup) -> None:
    """An order comes back; somebody notes what, and that it is refunded, with a reason. Another one does not."""
    back = {AWAIT: {"everything": True}, "refund-at-shop": None}
    await return_order(setup, "returned", [(AWAIT, "success"), ("refund-at-shop", "success")], back)
    await return_order(setup, "not-returned", [(AWAIT, "failure")], {})


async def return_order(
    setup: Setup, scenario: str, answers: list[tuple[str, Any]], data: dict[str, dict[str, Any] | None]
) -> None:
    order_id = await setup.create_order(scenario)
    await setup.shop.process(order_id)
    run = await start(setup.shop.client, "return-order", ReturnOrder(order_id=order_id, return_id=order_id))
    for step, kind in answers:

        async def waiting(step: str = step) -> bool | None:
            steps = (await run.query("progress"))["steps"]
            return any((each["name"], each["state"]) == (step, "waiting") for each in steps) or None

        await until(waiting)
        given = Answer(answer=kind, data=data.get(step), reason=words.REASON)
        await answer(setup.shop.client, setup.shop.database, run.id, step, given, by=words.ACTOR)
    await run.result()


async def order_rejected(setup: Setup) -> None:
    """An operator rejects an order that waits for a review, and says why."""
    process = await setup.start_review("rejected")
    no = Answer(answer="failure", reason=words.REASON)
    await answer(setup.shop.client, setup.shop.database, process, REVIEW, no, by=words.ACTOR)
    await wait_for_end(setup.shop.client.get_workflow_handle(process))


async def order_rejected_in_temporal(setup: Setup) -> None:
    """Somebody answers by Temporal's Update, first with personal data where they do not belong, and says why."""
    process = await setup.start_review("rejected-in-temporal")
    run = setup.shop.client.get_workflow_handle(process)
    for wrong in (
        {"step": words.CUSTOMER_PREFIX, "answer": "success"},
        {"step": REVIEW, "answer": words.FIRST},
        {"step": REVIEW, "answer": "failure", "data": {words.FIRST: words.LAST}},
        {"step": REVIEW, "answer": "failure", "reason": [words.LAST]},
    ):
        with pytest.raises(WorkflowUpdateFailedError):
            await run.execute_update("answer-step", wrong)
    name = f"{words.FIRST} {words.LAST}"
    await run.execute_update("answer-step", {"step": REVIEW, "answer": "failure", "reason": f"{name} has moved"})
    await wait_for_end(run)


async def workflow_bug(setup: Setup) -> None:
    """A workflow has a bug with personal data in its error, and an operator terminates the run."""
    run = await setup.shop.start(f"{BUGGY}-{setup.name}")
    async for event in run.fetch_history_events(wait_new_event=True):
        if event.event_type == WORKFLOW_TASK_FAILED:
            break
    await run.terminate()


async def job_paused(setup: Setup) -> None:
    """An operator pauses a job."""
    await pause(setup.shop.client, setup.shop.database, "upkeep", reason=words.REASON, actor=words.ACTOR)


WAITING = ("cancelled", "interrupted")
SCENARIOS: list[Callable[[Setup], Coroutine[Any, Any, None]]] = [
    registering_twice,
    registering_as_guest,
    customer_forgotten,
    welcome_mail_refused,
    each_step_failing,
    registration_cancelled,
    registration_interrupted,
    malformed_inputs,
    order_fulfilled,
    order_refused,
    order_mail_refused,
    order_cancelled,
    order_taken_back,
    order_returned,
    order_rejected,
    order_rejected_in_temporal,
    workflow_bug,
    job_paused,
]


async def run_scenarios(setup: Setup) -> None:
    """Run all scenarios concurrently."""
    async with asyncio.TaskGroup() as group:
        for scenario in SCENARIOS:
            group.create_task(scenario(setup))


async def send_personal_data_to_the_api(url: str, address: str) -> None:
    """Send personal data to the API in paths, queries, headers and bodies where they do not belong."""
    personal = {"email": address, "password": words.PASSWORD, **PERSON}
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {words.TOKEN}"}) as http:
        for path in ("/codec/default/encode", "/codec/default/decode", f"/codec/{address}/decode", "/health/ready"):
            await http.post(path, json=personal, params=personal)
            await http.post(path, content=f'{{"email": "{address}"')
        await http.post("/codec/default/decode", json={"payloads": [{"data": address, "metadata": personal}]})
        await http.get(f"/health/ready?email={address}", headers={"Authorization": f"Basic {words.PASSWORD}"})
        await http.get(f"/workflows/{address}")
