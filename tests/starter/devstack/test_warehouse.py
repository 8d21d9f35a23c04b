"""The embedded warehouse: its levels follow the shop's movements exactly, and it keeps the levels that were set."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from commerce import fulfillment, inventory
from commerce.database import Database
from commerce.errors import WarehouseAnswerInvalid, WarehouseRefused, WarehouseUnavailable
from commerce.integrations.warehouse import StockReading, Warehouse
from commerce.messages.orders import CreatedFulfillment
from starter.devstack.warehouse import server as warehouse
from starter.devstack.warehouse.openapi import rendered
from tests.commerce.shop import Shop
from tests.forks import Program, completed
from tests.paths import ROOT

WAREHOUSE = "starter.devstack.warehouse"
DOCUMENT = ROOT / "docs" / "warehouse.openapi.json"
MOVED = """
    SELECT coalesce(sum(quantity), 0) FROM stock_movements
    WHERE inventory_item_id = :sku AND location_id = :location AND created_at > :as_of
      AND reason IN ('fulfillment', 'cancel')
"""


class EmbeddedWarehouse:
    """The embedded warehouse on a real port, with the shop whose database it reads and our client."""

    def __init__(self, shop: Shop, url: str) -> None:
        self.shop, self.url = shop, url
        self.client = Warehouse(url, sleep=lambda _: asyncio.sleep(0))
        self.http = httpx.AsyncClient(base_url=url)

    async def query(self, *skus: str) -> StockReading:
        return await self.client.levels(skus)

    async def on_hand(self, *skus: str) -> dict[tuple[str, str], int]:
        return {(level.sku, level.location): level.on_hand for level in (await self.query(*skus)).levels}

    async def synced(self, *skus: str) -> dict[tuple[str, str], int]:
        """Return the stock that a sync would set."""
        answer = await self.query(*skus)
        return await self.after(answer)

    async def after(self, answer: StockReading) -> dict[tuple[str, str], int]:
        """Return the stock that a sync would set now, given an earlier answer."""
        synced = {}
        for level in answer.levels:
            moved = await self.shop.sql(MOVED, sku=level.sku, location=level.location, as_of=level.as_of)
            synced[level.sku, level.location] = level.on_hand + moved[0]
        return synced

    async def set_level(self, sku: str, location: str, on_hand: int | None) -> None:
        levels = [{"sku": sku, "location": location, "on_hand": on_hand}]
        (await self.http.put("/trial/levels", json=levels)).raise_for_status()

    async def inject_fault(self, fault: str, times: int | None = None, **more: Any) -> None:
        body = {"fault": fault, "times": times} | more
        (await self.http.post("/trial/faults", json=body)).raise_for_status()

    async def set_page_size(self, levels: int) -> None:
        (await self.http.put("/trial/page-size", json={"levels": levels})).raise_for_status()

    async def ship(self, order_id: str, **units: int) -> CreatedFulfillment:
        """Create an order and fulfill it."""
        await self.shop.order(order_id, **units)
        await self.shop.call(inventory.reserve, order_id)
        return await self.shop.call(fulfillment.create, order_id)

    async def close(self) -> None:
        await self.client.close()
        await self.http.aclose()


@pytest.fixture
async def embedded(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[EmbeddedWarehouse]:
    async with warehouse.running(tmp_path, 0, database_url) as url:
        embedded = EmbeddedWarehouse(Shop(database), url)
        await embedded.shop.stock("MUG", north=10, south=4)
        await embedded.shop.stock("CUP", south=7)
        yield embedded
        await embedded.close()


class TestLevels:
    async def test_its_levels_are_those_of_the_shop(self, embedded: EmbeddedWarehouse) -> None:
        assert await embedded.on_hand("MUG", "CUP") == {("MUG", "north"): 10, ("MUG", "south"): 4, ("CUP", "south"): 7}

    async def test_reserved_units_are_on_hand(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.shop.order("1", MUG=3)
        await embedded.shop.call(inventory.reserve, "1")
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 10

    async def test_it_follows_fulfillments_and_cancellations(self, embedded: EmbeddedWarehouse) -> None:
        made = await embedded.ship("1", MUG=3)
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 7
        await embedded.shop.call(fulfillment.cancel, made, "1")
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 10

    async def test_an_unknown_sku_is_absent(self, embedded: EmbeddedWarehouse) -> None:
        assert await embedded.on_hand("CUP", "HAT") == {("CUP", "south"): 7}

    async def test_a_sku_that_is_requested_twice_is_returned_once(self, embedded: EmbeddedWarehouse) -> None:
        assert len((await embedded.query("CUP", "CUP")).levels) == 1

    async def test_a_level_can_be_set(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("MUG", "north", 40)
        assert await embedded.on_hand("MUG") == {("MUG", "north"): 40, ("MUG", "south"): 4}
        await embedded.set_level("MUG", "north", 30)
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 30

    async def test_later_movements_change_a_level_that_was_set(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.ship("1", MUG=2)
        await embedded.set_level("MUG", "north", 40)
        made = await embedded.ship("2", MUG=3)
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 37
        await embedded.shop.call(fulfillment.cancel, made, "2")
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 40

    async def test_an_import_does_not_change_a_level_that_was_set(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("MUG", "north", 40)
        await embedded.shop.add_stock("MUG", north=5, south=5)  # as an import does
        assert await embedded.on_hand("MUG") == {("MUG", "north"): 40, ("MUG", "south"): 9}

    async def test_a_level_can_be_set_where_the_shop_has_none(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("CUP", "moon", 1)
        await embedded.set_level("HAT", "north", 2)
        assert await embedded.on_hand("CUP", "HAT") == {("CUP", "moon"): 1, ("CUP", "south"): 7, ("HAT", "north"): 2}

    async def test_a_level_can_be_unknown(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("CUP", "south", None)
        assert await embedded.on_hand("CUP") == {}

    async def test_a_level_is_never_negative(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("MUG", "north", 1)
        await embedded.ship("1", MUG=3)
        assert (await embedded.on_hand("MUG"))["MUG", "north"] == 0

    async def test_cleared_levels_are_those_of_the_shop_again(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("CUP", "south", 1)
        (await embedded.http.delete("/trial/levels")).raise_for_status()
        assert await embedded.on_hand("CUP") == {("CUP", "south"): 7}

    async def test_an_invalid_level_is_refused(self, embedded: EmbeddedWarehouse) -> None:
        good = {"sku": "CUP", "location": "south", "on_hand": 1}
        for wrong in ({"on_hand": -1}, {"on_hand": 2**31}, {"on_hand": "x"}, {"sku": ""}, {"sku": "M\0G"}):
            assert (await embedded.http.put("/trial/levels", json=[good, good | wrong])).status_code == 422
        assert await embedded.on_hand("CUP") == {("CUP", "south"): 7}


class TestReadings:
    """A sync by any answer is correct, whatever transactions overlap it."""

    async def test_a_shipment_after_the_answer_is_added_by_the_sync(self, embedded: EmbeddedWarehouse) -> None:
        answer = await embedded.query("MUG")
        await embedded.ship("1", MUG=3)
        assert (await embedded.after(answer))["MUG", "north"] == 7

    @pytest.mark.parametrize("fixed", [None, 40])
    async def test_an_uncommitted_shipment_is_neither_counted_nor_lost(
        self, embedded: EmbeddedWarehouse, fixed: int | None
    ) -> None:
        before = 10 if fixed is None else fixed
        if fixed is not None:
            await embedded.set_level("MUG", "north", fixed)
        await embedded.shop.order("1", MUG=3)
        await embedded.shop.call(inventory.reserve, "1")
        async with embedded.shop.database.transaction() as tx:
            await fulfillment.create(tx, "1")
            answer = await embedded.query("MUG")
            assert answer.levels[0].on_hand == before
            assert (await embedded.synced("MUG"))["MUG", "north"] == before
        assert (await embedded.after(answer))["MUG", "north"] == before - 3
        assert (await embedded.synced("MUG"))["MUG", "north"] == before - 3

    async def test_a_shipment_during_an_open_transaction_is_counted_once(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.shop.order("1", CUP=1)
        async with embedded.shop.database.transaction() as tx:
            await inventory.reserve(tx, "1")
            await embedded.ship("2", MUG=3)
            answer = await embedded.query("MUG")
            assert answer.levels[0].on_hand == 10  # the reading is from before the open transaction
            assert (await embedded.after(answer))["MUG", "north"] == 7

    async def test_a_level_can_be_set_during_an_open_transaction(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.shop.order("1", MUG=1)
        await embedded.shop.call(inventory.reserve, "1")
        async with embedded.shop.database.transaction() as tx:
            await embedded.ship("2", MUG=3)
            await embedded.set_level("MUG", "north", 40)  # what is left after that shipment
            assert (await embedded.synced("MUG"))["MUG", "north"] == 40
            await fulfillment.create(tx, "1")
            answer = await embedded.query("MUG")
        assert (await embedded.after(answer))["MUG", "north"] == 39
        assert (await embedded.synced("MUG"))["MUG", "north"] == 39

    async def test_concurrent_answers_all_lead_to_the_correct_stock(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_level("CUP", "south", 30)
        queries = [asyncio.create_task(embedded.query("MUG", "CUP")) for _ in range(10)]
        orders = [embedded.ship(str(number), MUG=1, CUP=number % 2 + 1) for number in range(4)]
        made, *_ = await asyncio.gather(*orders)
        queries += [asyncio.create_task(embedded.query("MUG", "CUP")) for _ in range(10)]
        await embedded.shop.call(fulfillment.cancel, made, "0")
        # All orders come from the south, the only location that has both items (I7).
        for answer in await asyncio.gather(*queries):
            assert await embedded.after(answer) == {("CUP", "south"): 25, ("MUG", "north"): 10, ("MUG", "south"): 1}

    async def test_an_import_after_the_reading_is_not_added(self, embedded: EmbeddedWarehouse) -> None:
        async with embedded.shop.database.transaction():
            await embedded.shop.add_stock("MUG", north=5)
            assert (await embedded.synced("MUG"))["MUG", "north"] == 15

    async def test_a_reading_is_never_in_the_future(self, embedded: EmbeddedWarehouse) -> None:
        assert (await embedded.query("MUG")).as_of < datetime.now(UTC)


class TestPages:
    async def test_all_pages_are_of_one_reading(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.set_page_size(1)
        first = (await embedded.http.post("/levels", json={"skus": ["MUG", "CUP"]})).json()
        await embedded.ship("1", MUG=3)
        await embedded.set_level("CUP", "south", 9)
        pages = [first]
        while token := pages[-1]["next"]:
            request = {"skus": ["MUG", "CUP"], "page": token}
            pages.append((await embedded.http.post("/levels", json=request)).json())
        assert {page["as_of"] for page in pages} == {first["as_of"]}
        assert [(level["sku"], level["location"], level["on_hand"]) for page in pages for level in page["levels"]] == [
            *[("CUP", "south", 7), ("MUG", "north", 10), ("MUG", "south", 4)]
        ]

    async def test_pages_of_any_size_add_up_to_the_whole_answer(self, embedded: EmbeddedWarehouse) -> None:
        for size in range(1, 5):
            await embedded.set_page_size(size)
            assert await embedded.on_hand("MUG", "CUP") == {
                ("MUG", "north"): 10,
                ("MUG", "south"): 4,
                ("CUP", "south"): 7,
            }

    async def test_a_foreign_token_is_refused(self, embedded: EmbeddedWarehouse) -> None:
        for token in ("x", "", "AAAA", "W10=", "é"):
            answer = await embedded.http.post("/levels", json={"skus": ["MUG"], "page": token})
            assert answer.status_code == 422

    async def test_an_invalid_request_is_refused(self, embedded: EmbeddedWarehouse) -> None:
        for request in ({}, {"skus": []}, {"skus": ["MUG"] * 1001}, {"skus": ["M\0G"]}, {"skus": "MUG"}):
            assert (await embedded.http.post("/levels", json=request)).status_code == 422

    async def test_long_names_fit_into_a_token(self, embedded: EmbeddedWarehouse) -> None:
        names = ["😀" * 254 + end for end in "ab"]
        for name in names:
            await embedded.set_level(name, name, 1)
        await embedded.set_page_size(1)
        assert len(await embedded.on_hand(*names)) == 2


class TestFaults:
    @pytest.mark.parametrize("fault", ["500", "429", "cut"])
    async def test_a_passing_fault_is_retried(self, embedded: EmbeddedWarehouse, fault: str) -> None:
        await embedded.inject_fault(fault, times=1, seconds=0)
        assert (await embedded.on_hand("CUP"))["CUP", "south"] == 7

    @pytest.mark.parametrize("fault", ["500", "429"])
    async def test_a_lasting_fault_makes_it_unavailable(self, embedded: EmbeddedWarehouse, fault: str) -> None:
        await embedded.inject_fault(fault, seconds=600)
        with pytest.raises(WarehouseUnavailable, match=fault):
            await embedded.query("CUP")

    async def test_too_many_requests_come_with_a_retry_after(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("429", seconds=1.5)
        assert (await embedded.http.post("/levels", json={"skus": ["CUP"]})).headers["Retry-After"] == "2"

    async def test_a_slow_response_is_late(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("slow", seconds=0.2)
        assert (await embedded.on_hand("CUP"))["CUP", "south"] == 7
        hasty = Warehouse(embedded.url, timeout=0.05)
        with pytest.raises(WarehouseUnavailable):
            await hasty.levels(["CUP"])
        await hasty.close()

    @pytest.mark.parametrize(
        ("fault", "field"),
        [("rubbish", "body"), ("twice", "next"), ("negative", "levels.0.on_hand"), ("endless", "next")],
    )
    async def test_a_corrupted_answer_is_refused(self, embedded: EmbeddedWarehouse, fault: str, field: str) -> None:
        await embedded.set_page_size(2)
        await embedded.inject_fault(fault)
        with pytest.raises(WarehouseAnswerInvalid) as raised:
            await embedded.query("MUG", "CUP")
        assert raised.value.field == field

    async def test_one_repeated_page_does_no_harm(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("twice", times=1)
        assert await embedded.on_hand("CUP") == {("CUP", "south"): 7}

    async def test_missing_levels_look_like_unknown_skus(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("half")
        assert await embedded.on_hand("MUG", "CUP") == {("CUP", "south"): 7, ("MUG", "south"): 4}

    async def test_a_fault_can_apply_to_one_sku(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("negative", sku="MUG")
        assert await embedded.on_hand("CUP") == {("CUP", "south"): 7}
        with pytest.raises(WarehouseAnswerInvalid):
            await embedded.query("CUP", "MUG")

    async def test_faults_can_be_listed_and_removed(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("500", times=2)
        await embedded.query("CUP")
        assert (await embedded.http.get("/trial/faults")).json()[0] | {"seconds": 0} == {
            "fault": "500",
            "times": 0,
            "sku": None,
            "seconds": 0,
        }
        await embedded.inject_fault("500")
        await embedded.http.delete("/trial/faults")
        assert (await embedded.http.get("/trial/faults")).json() == []
        await embedded.query("CUP")

    async def test_without_its_database_it_is_unavailable(self, tmp_path: Path) -> None:
        unreachable = "postgresql://nobody@127.0.0.1:1/nothing"
        async with warehouse.running(tmp_path, 0, unreachable) as url, httpx.AsyncClient(base_url=url) as http:
            answer = await http.post("/levels", json={"skus": ["CUP"]})
        assert (answer.status_code, "nobody" in answer.text) == (503, False)

    async def test_a_wrong_root_is_refused(self, embedded: EmbeddedWarehouse) -> None:
        elsewhere = Warehouse(f"{embedded.url}/v2")
        with pytest.raises(WarehouseRefused, match="404"):
            await elsewhere.levels(["CUP"])
        await elsewhere.close()


class TestProcess:
    @contextmanager
    def running(self, folder: Path, database_url: str) -> Iterator[tuple[Program, httpx.Client]]:
        """Run the warehouse as a process on a free port."""
        environment = os.environ | {"COMMERCE_DATABASE_URL": database_url}
        arguments = ("--data-dir", str(folder / "d"), "--port", "0")
        process = Program(WAREHOUSE, environment, folder, folder / f"{uuid4()}.log", arguments)
        try:
            url = process.first_line().removeprefix("warehouse: listening on ")
            with httpx.Client(base_url=url) as http:
                yield process, http
        finally:
            process.kill()
            process.wait()

    def test_a_kill_loses_no_level(self, tmp_path: Path, database_url: str) -> None:
        level = {"sku": "MUG", "location": "north", "on_hand": 5}
        with self.running(tmp_path, database_url) as (process, http):
            http.put("/trial/levels", json=[level]).raise_for_status()
            process.kill()
        with self.running(tmp_path, database_url) as (_, http):
            assert http.post("/levels", json={"skus": ["MUG"]}).json()["levels"] == [level]

    def test_it_stops_cleanly(self, tmp_path: Path, database_url: str) -> None:
        with self.running(tmp_path, database_url) as (process, http):
            http.post("/levels", json={"skus": ["MUG"]})  # a connection that stays open
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        assert process.log.read_text().count("\n") == 1  # where it listened

    def test_a_port_in_use_is_reported_in_one_line(self, tmp_path: Path, database_url: str) -> None:
        with self.running(tmp_path, database_url) as (_, http):
            arguments = ("--data-dir", str(tmp_path / "d"), "--port", str(http.base_url.port))
            done = completed(WAREHOUSE, arguments, os.environ, tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("warehouse: cannot serve: ")
        assert done.stderr.count("\n") == 1


class TestDocument:
    def test_it_is_up_to_date(self) -> None:
        assert DOCUMENT.read_text() == rendered(), (
            "Update it: python -m starter.devstack.warehouse.openapi > docs/warehouse.openapi.json"
        )

    def test_it_has_only_the_public_routes(self) -> None:
        document = json.loads(DOCUMENT.read_text())
        assert document["openapi"].startswith("3.1.")
        assert list(document["paths"]) == ["/levels", "/picks", "/picks/{pick_id}/cancel"]

    async def test_the_embedded_warehouse_responds_as_documented(self, embedded: EmbeddedWarehouse) -> None:
        for size in (1, 1000):
            await embedded.set_page_size(size)
            answer = (await embedded.http.post("/levels", json={"skus": ["MUG", "CUP", "HAT"], "page": None})).json()
            assert mismatches(answer, "LevelsPage") == []

    async def test_a_corrupted_page_is_not_as_documented(self, embedded: EmbeddedWarehouse) -> None:
        await embedded.inject_fault("negative", times=1)
        answer = (await embedded.http.post("/levels", json={"skus": ["MUG"], "page": None})).json()
        assert mismatches(answer, "LevelsPage") == [".levels[0].on_hand"]
        assert mismatches(answer | {"as_of": "2026-03-02T12:00:00"}, "LevelsPage")[0] == ".as_of"
        assert mismatches({"levels": 7}, "LevelsPage") == [".as_of", ".levels", ".next"]

    def test_our_request_is_as_documented(self) -> None:
        assert mismatches({"skus": ["MUG"], "page": None}, "LevelsRequest") == []
        assert mismatches({"skus": ["MUG"], "page": "2"}, "LevelsRequest") == []
        assert mismatches({"skus": [], "page": 2}, "LevelsRequest") == [".skus", ".page"]


def mismatches(value: Any, name: str) -> list[str]:
    """Return the places where a value does not match the schema of this name."""
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    return list(_mismatches(value, schemas[name], schemas, ""))


KINDS = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
KNOWN = {"title", "description", "type", "properties", "required", "items", "anyOf", "$ref", "format", "pattern"} | {
    *("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")
}


def _mismatches(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> Iterator[str]:
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        if all(list(_mismatches(value, one, schemas, at)) for one in schema["anyOf"]):
            yield at
    elif type(value) is not KINDS[schema["type"]] or not _within(value, schema):
        yield at
    elif isinstance(value, dict):
        for name, below in schema["properties"].items():
            if name in value:
                yield from _mismatches(value[name], below, schemas, f"{at}.{name}")
            elif name in schema["required"]:
                yield f"{at}.{name}"
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _mismatches(one, schema["items"], schemas, f"{at}[{number}]")


def _within(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, int):
        return bool(schema["minimum"] <= value <= schema["maximum"])
    if isinstance(value, list):
        return bool(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)))
    if isinstance(value, str) and schema.get("format") == "date-time":
        return datetime.fromisoformat(value).tzinfo is not None
    if isinstance(value, str):
        fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return fits and re.search(schema.get("pattern", ""), value) is not None
    return True
