"""What may happen to customers and orders, with words that tell where they have been."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from commerce.errors import CustomerAlreadyExists, ProcessFailed
from commerce.messages.customers import registration_process_id
from commerce.messages.orders import order_process_id
from starter.client import register_customer, start
from starter.operate.actions import cancel
from starter.processes import TASK_QUEUE
from starter.registration import Registration
from starter.schedules.actions import pause
from tests.running_shop import RunningShop, wait_for_end
from tests.system import leak_words as words
from tests.system.leak_worker import BUGGY
from tests.system.workers import wait_until

STEPS = ("validate-customer-data", "create-customer", "create-auth-user", "assign-customer-group")
PERSON = {"first_name": words.FIRST, "last_name": words.LAST}
TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
SECONDS = 60


@dataclass(frozen=True)
class Stage:
    """A shop with a worker of its own; `name` tells its customers and orders from those of another stage."""

    shop: RunningShop
    name: str
    markers: Path

    def address(self, scene: str, domain: str = "shop.example") -> str:
        return f"{words.MAIL}-{self.name}-{scene}@{domain}"

    @property
    def mischief(self) -> dict[str, str]:
        """What the worker is to do wrong, by process."""
        failing = {registration_process_id(self.address(step)): step for step in STEPS}
        waiting = {registration_process_id(self.address(scene)): "create-auth-user waits" for scene in WAITING}
        return failing | waiting | {order_process_id(f"{self.name}-called-off"): "create-shipping-label waits"}

    async def register(self, address: str) -> None:
        await register_customer(self.shop.client, email=address, password=words.PASSWORD, **PERSON)

    async def begin(self, address: str) -> WorkflowHandle[Any, Any]:
        given = PERSON | {"email": address, "password": words.PASSWORD}
        return await start(self.shop.client, "customer-registration", Registration.model_validate(given))

    async def waits(self, process: str) -> None:
        await wait_until((self.markers / process).exists, SECONDS, lambda: f"{process} does not wait")

    def go_on(self, process: str) -> None:
        (self.markers / f"{process} goes on").touch()

    async def order(self, scene: str, **facts: str) -> str:
        """Take in an order of a guest; return its id."""
        about = {
            "email": f"{words.BUYER}@shop.example",
            "shipping_name": words.RECIPIENT,
            "shipping_address1": words.STREET,
            "shipping_city": "London",
            "shipping_zip": "N1 9GU",
            "shipping_phone": words.PHONE,
        }
        await self.shop.data.order(f"{self.name}-{scene}", MUG=1, columns=about | facts)
        return f"{self.name}-{scene}"

    async def cancel(self, process: str) -> None:
        """Cancel a process that waits, as an operator does."""
        await self.waits(process)
        await cancel(self.shop.client, self.shop.database, process, reason=words.REASON, actor=words.ACTOR)
        self.go_on(process)
        await wait_for_end(self.shop.client.get_workflow_handle(process))


async def registered(stage: Stage) -> None:
    """All goes well, and once more it does not."""
    await stage.register(stage.address("registered"))
    with pytest.raises(CustomerAlreadyExists):
        await stage.register(stage.address("registered"))


async def guest(stage: Stage) -> None:
    """Who bought as a guest gets an account."""
    address = stage.address("guest")
    await stage.shop.data.sql("INSERT INTO customers (email) VALUES (:address)", address=address)
    await stage.register(address)


async def unwelcomed(stage: Stage) -> None:
    """The mail server refuses the customer's mail, and admins are told."""
    await stage.register(stage.address("unwelcomed", "refused.example"))


async def failing(stage: Stage) -> None:
    """Every step fails in turn, saying more than it should."""
    refusals = await asyncio.gather(*(stage.register(stage.address(step)) for step in STEPS), return_exceptions=True)
    assert {type(refusal) for refusal in refusals} == {ProcessFailed}, refusals


async def changed_mind(stage: Stage) -> None:
    """An operator cancels a registration, to which somebody has sent what it does not know."""
    run = await stage.begin(stage.address("changed-mind"))
    await run.signal("no-such-signal", {"email": stage.address("signal"), **PERSON})
    with pytest.raises(WorkflowQueryFailedError):
        await run.query("no-such-query", {"email": stage.address("query"), **PERSON})
    await stage.cancel(run.id)


async def registered_again(stage: Stage) -> None:
    """A registration is cut off in the middle, and begun anew."""
    run = await stage.begin(stage.address("again"))
    await stage.waits(run.id)
    await run.terminate()
    await stage.register(stage.address("again"))
    stage.go_on(run.id)


async def misshapen(stage: Stage) -> None:
    """A careless client sends what no registration can be, nor an order."""
    address = stage.address("misshapen")
    good = PERSON | {"email": address, "password_hash": words.HASH}
    inputs: list[list[Any]] = [
        [good | {"password_hash": words.GIVEN_AS_HASH}],
        [good | {"first_name": {"is": words.FIRST}, "last_name": [words.LAST], "email": [address]}],
        [PERSON | {"email": address}],
        [good, good],
        [f"{words.FIRST} {words.LAST} <{address}>"],
        [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=f'{{"email": "{address}", '.encode()))],
        [RawValue(Payload(metadata={"encoding": b"json/plain"}, data=f'"{address}'.encode() + b'\xff"'))],
        [RawValue(Payload(metadata={"encoding": b"our/own"}, data=address.encode()))],
    ]
    for kind in ("customer-registration", "order-processing"):
        for number, given in enumerate(inputs):
            run = f"{kind}-{stage.name}-misshapen-{number}"
            with pytest.raises(WorkflowFailureError) as failed:
                await stage.shop.client.execute_workflow(kind, args=given, id=run, task_queue=TASK_QUEUE)
            assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == "BadInput"


async def fulfilled(stage: Stage) -> None:
    """A guest's order is labelled and sent, and so is the mail."""
    assert (await stage.shop.process(await stage.order("fulfilled"))).notification_sent


async def refused(stage: Stage) -> None:
    """The carrier does not ship to there; admins are told."""
    await stage.shop.expect_failure(await stage.order("refused", shipping_country="ZZ"))


async def untold(stage: Stage) -> None:
    """The buyer's mail server refuses the mail; admins are told."""
    local, _, _ = words.BUYER.partition("@")
    assert not (
        await stage.shop.process(await stage.order("untold", email=f"{local}@refused.example"))
    ).notification_sent


async def called_off(stage: Stage) -> None:
    """An operator cancels an order."""
    run = await stage.shop.start(await stage.order("called-off"))
    await stage.cancel(run.id)


async def buggy(stage: Stage) -> None:
    """A process has a bug that says more than it should, and is terminated."""
    run = await stage.shop.start(f"{BUGGY}-{stage.name}")
    async for event in run.fetch_history_events(wait_new_event=True):
        if event.event_type == TASK_FAILED:
            break
    await run.terminate()


async def paused(stage: Stage) -> None:
    """An operator pauses a job."""
    await pause(stage.shop.client, stage.shop.database, "upkeep", reason=words.REASON, actor=words.ACTOR)


WAITING = ("changed-mind", "again")
SCENARIOS: list[Callable[[Stage], Coroutine[Any, Any, None]]] = [
    registered,
    guest,
    unwelcomed,
    failing,
    changed_mind,
    registered_again,
    misshapen,
    fulfilled,
    refused,
    untold,
    called_off,
    buggy,
    paused,
]


async def play(stage: Stage) -> None:
    """Let everything happen, side by side."""
    async with asyncio.TaskGroup() as group:
        for scene in SCENARIOS:
            group.create_task(scene(stage))


async def bother_the_api(url: str, address: str) -> None:
    """Bring to the API what is personal, in every place where it does not belong."""
    about = {"email": address, "password": words.PASSWORD, **PERSON}
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {words.TOKEN}"}) as http:
        for path in ("/codec/default/encode", "/codec/default/decode", f"/codec/{address}/decode", "/health/ready"):
            await http.post(path, json=about, params=about)
            await http.post(path, content=f'{{"email": "{address}"')
        await http.post("/codec/default/decode", json={"payloads": [{"data": address, "metadata": about}]})
        await http.get(f"/health/ready?email={address}", headers={"Authorization": f"Basic {words.PASSWORD}"})
        await http.get(f"/workflows/{address}")
