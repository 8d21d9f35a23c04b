"""The second carrier that docs/carriers.md shows keeps the promises of any carrier."""

import json

import httpx
import pytest

from commerce.integrations.carrier import Carrier
from tests.commerce.integrations.carrier_contract import PARCEL, CarrierContract
from tests.commerce.integrations.parcel_post import ParcelPost

OPERATIONS = {"POST": "create", "PUT": "buy", "DELETE": "refund"}


class Server:
    """ParcelPost's server: consignments by reference, each `created`, `bought` or `refunded`."""

    def __init__(self) -> None:
        self.consignments: dict[str, str] = {}
        self.failing: tuple[str, int] | None = None
        self.silent: str | None = None
        self.collected = False
        self.carrier: Carrier = ParcelPost(
            "https://parcelpost.example", "token", PARCEL, transport=httpx.MockTransport(self._respond)
        )

    async def labels(self) -> tuple[int, int]:
        states = list(self.consignments.values())
        return states.count("bought") + states.count("refunded"), states.count("refunded")

    async def lose_response(self, operation: str) -> None:
        self.silent = operation

    async def fail(self, operation: str, status: int = 500) -> None:
        self.failing = operation, status

    def _respond(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return self._look_up(request.url.path.split("/")[2])
        operation = OPERATIONS[request.method]
        if self.failing and self.failing[0] == operation:
            status, self.failing = self.failing[1], None
            return httpx.Response(status)
        response = self._create(request) if operation == "create" else self._change(request)
        if self.silent == operation:
            self.silent = None
            raise httpx.ReadError("connection reset")
        return response

    async def scan(self) -> None:
        self.collected = True

    def _look_up(self, consignment_id: str) -> httpx.Response:
        state = self.consignments[consignment_id]
        sold = {"number": consignment_id, "collected": self.collected, "returned": state == "refunded"}
        return httpx.Response(200, json={} if state == "created" else sold)

    def _create(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if body["to"]["country"] == "AQ":
            return httpx.Response(422, json={"message": f"{body['to']['city']} does not exist"})
        consignment_id = f"cons-{body['reference']}"
        if self.consignments.get(consignment_id) == "refunded":
            consignment_id += "-2"
        self.consignments.setdefault(consignment_id, "created")
        return httpx.Response(201, json={"id": consignment_id})

    def _change(self, request: httpx.Request) -> httpx.Response:
        consignment_id = request.url.path.split("/")[2]
        state = self.consignments.get(consignment_id)
        if request.method == "PUT" and state in ("created", "bought"):
            self.consignments[consignment_id] = "bought"
            return httpx.Response(200, json={"number": consignment_id, "url": f"https://labels/{consignment_id}"})
        if request.method == "DELETE" and state == "bought":
            self.consignments[consignment_id] = "refunded"
            return httpx.Response(200, json={})
        return httpx.Response(410 if state == "refunded" else 404)


class TestContract(CarrierContract):
    @pytest.fixture
    def service(self) -> Server:
        return Server()
