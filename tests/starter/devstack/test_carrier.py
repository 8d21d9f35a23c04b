"""The embedded carrier: it stores its shipments, and its responses have the shape of the real API's."""

import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from starter.devstack import serving
from starter.devstack.carrier import server as carrier
from tests.forks import Program, completed
from tests.paths import EASYPOST_RESPONSES

ADDRESS = {"name": "Zoë <b>", "street1": "1 High Street", "city": "Leeds", "zip": "LS1", "country": "GB"}
SHIPMENT: dict[str, Any] = {
    "reference": "ref",
    "to_address": ADDRESS,
    "from_address": ADDRESS,
    "parcel": {"length": 10, "width": 8, "height": 4, "weight": 15.4},
    "options": {"invoice_number": "1001"},
}
CARRIER = "starter.devstack.carrier"
Start = Callable[[], tuple[Program, httpx.Client]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = carrier.create_app(tmp_path)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://carrier", auth=("key", "")) as client:
        yield client
    app.state.shipments.close()


async def create(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await api.post("/v2/shipments", json={"shipment": SHIPMENT | more})
    assert answer.status_code == 201
    shipment: dict[str, Any] = answer.json()
    return shipment


async def buy(api: httpx.AsyncClient, shipment: dict[str, Any]) -> httpx.Response:
    return await api.post(f"/v2/shipments/{shipment['id']}/buy", json={"rate": {"id": shipment["rates"][0]["id"]}})


def error(response: httpx.Response) -> tuple[int, str]:
    body = response.json()["error"]
    assert set(body) == {"code", "message", "errors"}
    return response.status_code, body["code"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the carrier as a process on a free port; all starts share one folder."""
    arguments = ("--data-dir", str(tmp_path / "d"), "--port", "0")

    def start() -> tuple[Program, httpx.Client]:
        process = Program(CARRIER, os.environ, tmp_path, tmp_path / f"{uuid4()}.log", arguments)
        stack.callback(process.kill)
        url = process.first_line().removeprefix("carrier: listening on ")
        return process, stack.enter_context(httpx.Client(base_url=url, auth=("key", "")))

    with ExitStack() as stack:
        yield start


class TestShipments:
    async def test_each_create_makes_another_shipment(self, api: httpx.AsyncClient) -> None:
        assert (await create(api))["id"] != (await create(api))["id"]

    async def test_a_bought_label_is_stored_and_shown(self, api: httpx.AsyncClient) -> None:
        shipment = await create(api)
        label = (await buy(api, shipment)).json()
        assert label == (await api.get(f"/v2/shipments/{shipment['id']}")).json()
        page = await api.get(label["postage_label"]["label_url"])
        assert page.headers["content-type"].startswith("text/html")
        assert label["tracking_code"] in page.text
        assert "Zoë &lt;b&gt;" in page.text

    async def test_a_label_is_bought_and_refunded_once(self, api: httpx.AsyncClient) -> None:
        shipment = await create(api)
        refund = f"/v2/shipments/{shipment['id']}/refund"
        assert error(await api.post(refund)) == (422, "SHIPMENT.POSTAGE.REQUIRED")
        assert (await buy(api, shipment)).status_code == 200
        assert error(await buy(api, shipment)) == (422, "SHIPMENT.POSTAGE.EXISTS")
        assert (await api.post(refund)).json()["refund_status"] == "submitted"
        assert error(await api.post(refund)) == (422, "SHIPMENT.REFUND.UNAVAILABLE")

    async def test_heavy_parcels_and_other_countries_cost_more(self, api: httpx.AsyncClient) -> None:
        domestic, foreign = await create(api), await create(api, to_address=ADDRESS | {"country": "FR"})
        heavy = await create(api, parcel=SHIPMENT["parcel"] | {"weight": 160})
        prices = [float(shipment["rates"][0]["rate"]) for shipment in (domestic, heavy, foreign)]
        assert prices == sorted(set(prices))


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "refusal"),
        [
            ({"shipment": {}}, (422, "PARAMETER.REQUIRED")),
            ({}, (422, "PARAMETER.REQUIRED")),
            ([], (422, "PARAMETER.REQUIRED")),
            ({"shipment": "x"}, (422, "PARAMETER.REQUIRED")),
            ({"shipment": SHIPMENT | {"parcel": None}}, (422, "SHIPMENT.INVALID_PARAMS")),
            ({"shipment": SHIPMENT | {"parcel": {}}}, (422, "SHIPMENT.INVALID_PARAMS")),
            ({"shipment": SHIPMENT | {"parcel": {"weight": "much"}}}, (422, "SHIPMENT.INVALID_PARAMS")),
            ({"shipment": SHIPMENT | {"to_address": ADDRESS | {"country": "AQ"}}}, (422, "ADDRESS.VERIFY.FAILURE")),
            ({"shipment": SHIPMENT | {"to_address": ADDRESS | {"zip": "REFUSED"}}}, (422, "ADDRESS.VERIFY.FAILURE")),
        ],
        ids=str,
    )
    async def test_an_invalid_shipment_is_refused(
        self, api: httpx.AsyncClient, body: Any, refusal: tuple[int, str]
    ) -> None:
        assert error(await api.post("/v2/shipments", json=body)) == refusal

    async def test_a_body_that_is_not_json_is_refused(self, api: httpx.AsyncClient) -> None:
        assert error(await api.post("/v2/shipments", content=b"{")) == (400, "PARAMETERS.INVALID_TYPE")

    async def test_a_rate_of_another_shipment_is_refused(self, api: httpx.AsyncClient) -> None:
        shipment = await create(api)
        for body in ({"rate": {"id": "rate_x"}}, {"rate": "x"}, {}):
            answer = await api.post(f"/v2/shipments/{shipment['id']}/buy", json=body)
            assert error(answer) == (422, "SHIPMENT.MISSING_RATE")

    @pytest.mark.parametrize("path", ["shp_x", "shp_x/buy", "shp_x/refund"])
    async def test_an_unknown_path_is_not_found(self, api: httpx.AsyncClient, path: str) -> None:
        method = "GET" if path == "shp_x" else "POST"
        assert error(await api.request(method, f"/v2/shipments/{path}")) == (404, "NOT_FOUND")
        assert error(await api.get("/nowhere")) == (404, "NOT_FOUND")

    async def test_a_request_without_a_key_is_refused(self, api: httpx.AsyncClient) -> None:
        for key in (httpx.Auth(), httpx.BasicAuth("", "")):
            answer = await api.post("/v2/shipments", json={"shipment": SHIPMENT}, auth=key)
            assert error(answer) == (401, "USER.UNAUTHORIZED")


class TestControl:
    async def add_fault(self, api: httpx.AsyncClient, **fault: Any) -> None:
        assert (await api.post("/trial/faults", json=fault)).status_code == 200

    async def test_a_fault_applies_a_limited_number_of_times(self, api: httpx.AsyncClient) -> None:
        await self.add_fault(api, operation="buy", fault="500", times=2)
        shipment = await create(api)
        assert [(await buy(api, shipment)).status_code for _ in range(3)] == [500, 500, 200]

    async def test_a_fault_without_times_applies_until_it_is_removed(self, api: httpx.AsyncClient) -> None:
        await self.add_fault(api, operation="create", fault="422")
        for _ in range(3):
            answer = await api.post("/v2/shipments", json={"shipment": SHIPMENT})
            assert error(answer) == (422, "ADDRESS.VERIFY.FAILURE")
        assert (await api.get("/trial/faults")).json()[0]["fault"] == "422"
        await api.delete("/trial/faults")
        await create(api)

    @pytest.mark.parametrize("only", [{"reference": "other"}, {"order_id": "1002"}])
    async def test_a_fault_can_apply_to_one_shipment(self, api: httpx.AsyncClient, only: dict[str, str]) -> None:
        await self.add_fault(api, operation="buy", fault="500", **only)
        other = await create(api, reference="other", options={"invoice_number": "1002"})
        assert (await buy(api, await create(api))).status_code == 200
        assert (await buy(api, other)).status_code == 500

    async def test_cut_carries_out_the_operation_without_a_response(self, api: httpx.AsyncClient) -> None:
        shipment = await create(api)
        await self.add_fault(api, operation="buy", fault="cut", times=1)
        with pytest.raises(ConnectionAbortedError):
            await buy(api, shipment)
        assert error(await buy(api, shipment)) == (422, "SHIPMENT.POSTAGE.EXISTS")

    async def test_labels_are_counted(self, api: httpx.AsyncClient) -> None:
        first, second = await create(api), await create(api)
        await create(api, reference="other")
        for shipment in (first, second):
            await buy(api, shipment)
        await api.post(f"/v2/shipments/{first['id']}/refund")
        counts = (await api.get("/trial/labels", params={"reference": "ref"})).json()
        assert [label["shipment_id"] for label in counts.pop("labels")] == [second["id"], first["id"]]
        assert counts == {"shipments": 2, "bought": 2, "refunded": 1, "live": 1}
        assert (await api.get("/trial/labels")).json()["shipments"] == 3


@pytest.mark.programs
class TestProcess:
    def test_a_kill_loses_nothing(self, start: Start) -> None:
        process, client = start()
        shipment = client.post("/v2/shipments", json={"shipment": SHIPMENT}).json()
        rate = {"rate": {"id": shipment["rates"][0]["id"]}}
        label = client.post(f"/v2/shipments/{shipment['id']}/buy", json=rate).json()
        process.kill()
        process.wait()
        _, again = start()
        assert again.get(f"/v2/shipments/{shipment['id']}").json() == label

    def test_cut_sends_no_response_at_all(self, start: Start) -> None:
        _, client = start()
        client.post("/trial/faults", json={"operation": "create", "fault": "cut", "times": 1})
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            client.post("/v2/shipments", json={"shipment": SHIPMENT})
        assert client.get("/trial/labels").json()["shipments"] == 1

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_stops_cleanly(self, start: Start, number: signal.Signals) -> None:
        process, client = start()
        client.get("/trial/labels")  # a connection that stays open
        process.send_signal(number)
        assert process.wait() == 0
        assert process.log.read_text().count("\n") == 1  # where it listened

    def test_a_port_in_use_is_reported_in_one_line(self, start: Start, tmp_path: Path) -> None:
        _, client = start()
        arguments = ("--data-dir", str(tmp_path), "--port", str(client.base_url.port))
        done = completed(CARRIER, arguments, os.environ, tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("carrier: cannot serve: ")
        assert done.stderr.count("\n") == 1


def test_its_socket_has_no_send_delay() -> None:
    with serving.listen(0) as bound:
        assert (
            bound.proto == socket.IPPROTO_TCP
        )  # otherwise asyncio does not set TCP_NODELAY, and each response takes 40 ms longer


class TestResponses:
    """Our responses have the same keys as those of the real API."""

    def compare(self, ours: Any, theirs: Any, where: str = "") -> None:
        if isinstance(ours, dict) and isinstance(theirs, dict):
            assert set(ours) == set(theirs), where
            for key in set(ours) - {"options", "verifications", "customs_info"}:  # these echo the request
                self.compare(ours[key], theirs[key], f"{where}.{key}")
        elif isinstance(ours, list) and isinstance(theirs, list):
            for one, other in zip(ours, theirs, strict=False):
                self.compare(one, other, f"{where}[]")
        elif None not in (ours, theirs):
            assert type(ours) is type(theirs), where

    async def test_create_buy_and_refund_have_the_same_shape(self, api: httpx.AsyncClient) -> None:
        theirs = json.loads((EASYPOST_RESPONSES / "buy.json").read_text())
        shipment = await create(api, **theirs[0]["request"]["body"]["shipment"])
        self.compare(shipment, theirs[0]["response"]["body"])
        self.compare((await buy(api, shipment)).json(), theirs[1]["response"]["body"])
        refunded = json.loads((EASYPOST_RESPONSES / "refund.json").read_text())[-1]
        answer = await api.post(f"/v2/shipments/{shipment['id']}/refund")
        assert answer.status_code == refunded["response"]["status"]["code"]
        self.compare(answer.json(), refunded["response"]["body"])

    async def test_an_error_is_the_same(self, api: httpx.AsyncClient) -> None:
        (theirs,) = json.loads((EASYPOST_RESPONSES / "error.json").read_text())
        answer = await api.post("/v2/shipments", json=theirs["request"]["body"])
        assert answer.status_code == theirs["response"]["status"]["code"]
        assert answer.json() == theirs["response"]["body"]
