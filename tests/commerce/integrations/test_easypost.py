"""EasyPost: the contract of a carrier against the embedded server, its API and its errors (V6, V7)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable
from commerce.integrations.carrier import LabelState
from commerce.integrations.easypost import EasyPost
from commerce.shipments import Address
from starter.devstack.carrier import server as embedded
from tests.commerce.integrations.carrier_contract import PARCEL, RECIPIENT, SENDER, SHIPMENT, CarrierContract
from tests.paths import EASYPOST_RESPONSES

BOUGHT = {
    "id": "shp_1",
    "tracking_code": "94001",
    "postage_label": {"label_url": "https://labels.example/1"},
    "rates": [{"id": "rate_1", "rate": "6.07"}],
    "refund_status": None,
}
UNBOUGHT = BOUGHT | {"tracking_code": None, "postage_label": None}


def responding(*answers: Callable[[httpx.Request], httpx.Response] | tuple[int, Any]) -> EasyPost:
    """Return an EasyPost account whose server sends these responses in turn."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        given = left.pop(0)
        if callable(given):
            return given(request)
        status, body = given
        return httpx.Response(status, **({"json": body} if isinstance(body, dict) else {"text": body}))

    transport = httpx.MockTransport(answer)
    return EasyPost("https://carrier.example/v2", SecretStr("key"), SENDER, PARCEL, transport=transport)


def error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "Leeds LS1 1AA is not a place", "errors": []}}


def failing(with_error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise with_error

    return fail


class Service:
    """The embedded carrier on a real port, our client, and the routes that inject faults."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.carrier = EasyPost(f"{url}/v2", SecretStr("key"), SENDER, PARCEL)
        self._trial = httpx.AsyncClient(base_url=url)

    async def inject_fault(self, operation: str, fault: str, times: int | None = 1, **more: Any) -> None:
        body = {"operation": operation, "fault": fault, "times": times} | more
        (await self._trial.post("/trial/faults", json=body)).raise_for_status()

    async def lose_response(self, operation: str) -> None:
        await self.inject_fault(operation, "cut")

    async def fail(self, operation: str, status: int = 500) -> None:
        await self.inject_fault(operation, str(status))

    async def scan(self) -> None:
        body = {"order_id": "#1001", "tracker": "in_transit"}
        (await self._trial.post("/trial/states", json=body)).raise_for_status()

    async def labels(self) -> tuple[int, int]:
        """Return how many labels were bought, and how many of them were refunded."""
        counts = (await self._trial.get("/trial/labels", params={"order_id": "#1001"})).json()
        return counts["bought"], counts["refunded"]

    async def close(self) -> None:
        await self.carrier.close()
        await self._trial.aclose()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with embedded.running(tmp_path, 0) as url:
        service = Service(url)
        yield service
        await service.close()


async def test_a_label_for_the_way_back_goes_to_the_sender(service: Service) -> None:  # (R2)
    shipment_id = await service.carrier.create(replace(SHIPMENT, is_return=True), "back")
    await service.carrier.buy(shipment_id)
    async with httpx.AsyncClient(base_url=service.url, auth=("key", "")) as http:
        made = (await http.get(f"/v2/shipments/{shipment_id}")).json()
    names = [made[part]["name"] for part in ("from_address", "to_address", "buyer_address")]
    assert (made["is_return"], names) == (True, [RECIPIENT.name, SENDER.name, RECIPIENT.name])


class TestContract(CarrierContract):
    """The contract, against the embedded carrier."""


class TestBuying:
    async def test_the_cheapest_label_is_bought(self, service: Service) -> None:
        label = await service.carrier.buy(await service.carrier.create(SHIPMENT, "ref"))
        assert label.shipment_id.startswith("shp_")
        assert len(label.tracking_number) == 22
        assert label.carrier == "USPS"
        async with httpx.AsyncClient() as browser:
            page = await browser.get(label.label_url)
        assert label.tracking_number in page.text
        assert "GroundAdvantage" in page.text

    async def test_a_parcel_is_sent_from_the_address_of_its_location(self) -> None:
        senders = []

        def created(request: httpx.Request) -> httpx.Response:
            senders.append(json.loads(request.content)["shipment"]["from_address"])
            return httpx.Response(200, json=UNBOUGHT)

        quay = Address("", "2 Quay", "Hull", "HU1", "", "GB", "", company="Mugs Ltd")
        for sender in (None, quay):
            await responding(created).create(replace(SHIPMENT, sender=sender), "ref")
        assert [(sender["name"], sender["street1"], sender.get("company")) for sender in senders] == [
            ("Shop", "1 Warehouse Way", None),
            ("Shop", "2 Quay", "Mugs Ltd"),
        ]

    async def test_concurrent_purchases_buy_one_label(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.inject_fault("buy", "slow", times=2, seconds=0.2)
        first, second = await asyncio.gather(service.carrier.buy(shipment_id), service.carrier.buy(shipment_id))
        assert first == second
        assert await service.labels() == (1, 0)

    async def test_a_label_that_was_bought_meanwhile_is_returned(self) -> None:
        exists = (422, error("SHIPMENT.POSTAGE.EXISTS"))
        label = await responding((200, UNBOUGHT), exists, (200, BOUGHT)).buy("shp_1")
        assert label.tracking_number == "94001"

    async def test_prices_are_compared_as_numbers(self) -> None:
        def bought(request: httpx.Request) -> httpx.Response:
            assert json.loads(request.content) == {"rate": {"id": "cheap"}}
            return httpx.Response(200, json=BOUGHT)

        rates = [{"id": "dear", "rate": "10.50"}, {"id": "cheap", "rate": "9.99"}]
        await responding((200, UNBOUGHT | {"rates": rates}), bought).buy("shp_1")

    async def test_a_shipment_without_rates_is_refused(self) -> None:
        with pytest.raises(CarrierRefused, match="NO_RATES"):
            await responding((200, UNBOUGHT | {"rates": []})).buy("shp_1")

    async def test_a_refunded_label_is_refused_with_its_code(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.carrier.buy(shipment_id)
        await service.carrier.refund(shipment_id)
        with pytest.raises(CarrierRefused, match="REFUNDED"):
            await service.carrier.buy(shipment_id)

    async def test_the_request_has_the_fields_of_the_api(self) -> None:
        def created(request: httpx.Request) -> httpx.Response:
            assert request.url == "https://carrier.example/v2/shipments"
            assert request.headers["Authorization"] == "Basic a2V5Og=="
            sent = json.loads(request.content)["shipment"]
            assert sent["reference"] == "ref"
            assert sent["to_address"] == {
                "name": "Zoë Smith",
                "street1": "1 High Street",
                "city": "Leeds",
                "zip": "LS1 1AA",
                "country": "GB",
                "street2": "Flat 7",
                "company": "Acme Ltd",
            }
            assert sent["parcel"] == {"length": 10, "width": 8, "height": 4, "weight": 16}
            assert sent["options"] == {"invoice_number": "#1001", "currency": "GBP"}
            return httpx.Response(201, json=UNBOUGHT)

        assert await responding(created).create(SHIPMENT, "ref") == "shp_1"


class TestRefunding:
    async def test_a_refused_refund_is_an_error(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.carrier.buy(shipment_id)
        await service.inject_fault("refund", "422")
        with pytest.raises(CarrierRefused, match=r"SHIPMENT\.REFUND\.UNAVAILABLE"):
            await service.carrier.refund(shipment_id)

    async def test_a_rejected_refund_is_an_error(self) -> None:
        with pytest.raises(CarrierRefused, match="REJECTED"):
            await responding((200, BOUGHT), (200, BOUGHT | {"refund_status": "rejected"})).refund("shp_1")

    async def test_a_wrong_key_is_about_all_shipments(self) -> None:
        with pytest.raises(CarrierDown, match="401"):
            await responding((401, error("USER.UNAUTHORIZED"))).refund("shp_1")

    @pytest.mark.parametrize(
        "answers",
        [
            [(422, error("SHIPMENT.REFUND.UNAVAILABLE")), (200, BOUGHT | {"refund_status": "submitted"})],
            [(422, error("SHIPMENT.REFUND.ALREADY_REQUESTED"))],
            [(422, error("SHIPMENT.ALREADY_REFUNDED"))],
        ],
        ids=["the shipment shows it", "the code says it", "another code says it"],
    )
    async def test_a_label_that_was_refunded_already_counts_as_refunded(self, answers: list[tuple[int, Any]]) -> None:
        assert await responding((200, BOUGHT), *answers).refund("shp_1")


class TestErrors:
    async def test_a_failed_lookup_can_be_retried(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.fail("get")
        with pytest.raises(CarrierUnavailable, match="500"):
            await service.carrier.buy(shipment_id)
        await service.carrier.buy(shipment_id)

    @pytest.mark.parametrize("answer", [(503, "busy"), (429, error("RATE_LIMITED")), (302, "moved"), (408, "late")])
    async def test_other_statuses_can_be_retried(self, answer: tuple[int, Any]) -> None:
        with pytest.raises(CarrierUnavailable, match=str(answer[0])):
            await responding(answer).create(SHIPMENT, "ref")

    @pytest.mark.parametrize(
        "code", ["SHIPMENT.PURCHASE.IN_PROGRESS", "SHIPMENT.POSTAGE.TIMED_OUT", "SHIPMENT.POSTAGE.NO_RESPONSE"]
    )
    async def test_an_undecided_purchase_can_be_retried(self, code: str) -> None:
        with pytest.raises(CarrierUnavailable, match=code):
            await responding((200, UNBOUGHT), (422, error(code))).buy("shp_1")

    @pytest.mark.parametrize(
        "body",
        ["<html>", "", "[]", "{}", {"id": 7}, {"id": "../x"}, UNBOUGHT | {"rates": [{"id": "r", "rate": "NaN"}]}],
        ids=str,
    )
    async def test_an_unreadable_response_can_be_retried(self, body: Any) -> None:
        with pytest.raises(CarrierUnavailable, match="unreadable") as raised:
            await responding((201, body)).create(SHIPMENT, "ref")
        assert raised.value.__cause__ is None

    async def test_a_label_without_a_number_can_be_retried(self) -> None:
        with pytest.raises(CarrierUnavailable, match="no label"):
            await responding((200, BOUGHT | {"tracking_code": None})).buy("shp_1")

    @pytest.mark.parametrize("failure", [httpx.ConnectError("no"), httpx.ReadTimeout("late"), ConnectionResetError()])
    async def test_a_broken_connection_can_be_retried(self, failure: Exception) -> None:
        with pytest.raises(CarrierUnavailable, match=type(failure).__name__):
            await responding(failing(failure)).create(SHIPMENT, "ref")

    async def test_a_closed_port_can_be_retried(self) -> None:
        closed = EasyPost("http://127.0.0.1:1/v2", SecretStr("key"), SENDER, PARCEL)
        with pytest.raises(CarrierUnavailable, match="ConnectError"):
            await closed.create(SHIPMENT, "ref")
        await closed.close()

    async def test_a_call_has_a_time_limit(self, service: Service) -> None:
        await service.inject_fault("create", "slow", seconds=1)
        hasty = EasyPost(f"{service.url}/v2", SecretStr("key"), SENDER, PARCEL, timeout=0.2)
        with pytest.raises(CarrierUnavailable, match=r"within 0\.2 s|ReadTimeout"):
            await hasty.create(SHIPMENT, "ref")
        await hasty.close()

    async def test_a_refusal_has_the_code_and_no_personal_data(self) -> None:
        with pytest.raises(CarrierRefused) as refused:
            await responding((422, error("ADDRESS.VERIFY.FAILURE"))).create(SHIPMENT, "ref")
        assert refused.value.data() == {"code": "ADDRESS.VERIFY.FAILURE", "status": 422}

    @pytest.mark.parametrize("body", ["<html>", error("Leeds LS1 1AA"), {"error": "Leeds"}, {}], ids=str)
    async def test_an_unreadable_refusal_is_unknown(self, body: Any) -> None:
        with pytest.raises(CarrierRefused, match="UNKNOWN"):
            await responding((400, body)).create(SHIPMENT, "ref")

    @pytest.mark.parametrize("wrong", [{"country": "AQ"}, {"zip": "REFUSED"}])
    async def test_the_embedded_carrier_refuses_some_addresses(self, service: Service, wrong: dict[str, str]) -> None:
        with pytest.raises(CarrierRefused, match=r"ADDRESS\.VERIFY\.FAILURE"):
            await service.carrier.create(replace(SHIPMENT, recipient=replace(RECIPIENT, **wrong)), "ref")


class TestResponses:
    """Responses with all fields of the real API, and invented values."""

    def responses(self, name: str) -> list[tuple[int, Any]]:
        calls = json.loads((EASYPOST_RESPONSES / f"{name}.json").read_text())
        return [(call["response"]["status"]["code"], call["response"]["body"]) for call in calls]

    async def test_a_purchase_is_understood(self) -> None:
        created, bought = self.responses("buy")
        assert await responding(created).create(SHIPMENT, "123") == created[1]["id"]
        label = await responding(created, bought).buy(created[1]["id"])
        assert label.tracking_number == "9400100000000000440242"
        assert label.label_url.endswith(".png")

    async def test_a_refund_is_understood(self) -> None:
        bought, refunded = self.responses("refund")
        await responding(bought, refunded).refund(bought[1]["id"])
        await responding(refunded).refund(bought[1]["id"])

    async def test_an_error_is_understood(self) -> None:
        with pytest.raises(CarrierRefused, match=r"PARAMETER\.REQUIRED \(HTTP 422\)"):
            await responding(*self.responses("error")).create(SHIPMENT, "ref")


@pytest.mark.parametrize(
    ("tracker", "handed_over"),
    [("pre_transit", False), ("in_transit", True), ("return_to_sender", True), ("unknown", None), (None, None)],
)
async def test_the_status_of_the_tracker_says_whether_the_parcel_was_handed_over(
    tracker: str | None, handed_over: bool | None
) -> None:
    carrier = responding((200, BOUGHT | {"tracker": tracker and {"status": tracker}}))
    assert await carrier.look_up("shp_1") == LabelState(handed_over)


@pytest.mark.parametrize(
    ("status", "refund"), [("submitted", "requested"), ("refunded", "made"), ("rejected", "refused"), (None, "none")]
)
async def test_a_submitted_refund_is_only_requested(status: str | None, refund: Any) -> None:  # (B3)
    carrier = responding((200, BOUGHT | {"refund_status": status}))
    assert await carrier.look_up("shp_1") == LabelState(None, refund)


async def test_an_unknown_shipment_has_no_label() -> None:
    assert await responding((404, error("NOT_FOUND"))).look_up("shp_1") is None
