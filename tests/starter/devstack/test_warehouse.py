"""The embedded warehouse: it knows what the shop moved, to the unit and at any moment, and keeps what it was told."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from tests.paths import ROOT

DOCUMENT = ROOT / "docs" / "warehouse.openapi.json"
MOVED = """
    SELECT coalesce(sum(quantity), 0) FROM stock_movements
    WHERE inventory_item_id = :sku AND location_id = :location AND created_at > :as_of
      AND reason IN ('fulfillment', 'cancel')
"""


class Stand:
    """A shop, the embedded warehouse on a real port, and our client of it."""

    def __init__(self, shop: Shop, url: str) -> None:
        self.shop, self.url = shop, url
        self.client = Warehouse(url, pause=lambda _: asyncio.sleep(0))
        self.http = httpx.AsyncClient(base_url=url)

    async def ask(self, *skus: str) -> StockReading:
        return await self.client.levels(skus)

    async def on_hand(self, *skus: str) -> dict[tuple[str, str], int]:
        return {(level.sku, level.location): level.on_hand for level in (await self.ask(*skus)).levels}

    async def synced(self, *skus: str) -> dict[tuple[str, str], int]:
        """Return what a sync would set the shop's stock to."""
        answer = await self.ask(*skus)
        return await self.after(answer)

    async def after(self, answer: StockReading) -> dict[tuple[str, str], int]:
        """Return what a sync would set the shop's stock to now, by an answer from before."""
        synced = {}
        for level in answer.levels:
            moved = await self.shop.sql(MOVED, sku=level.sku, location=level.location, as_of=level.as_of)
            synced[level.sku, level.location] = level.on_hand + moved[0]
        return synced

    async def set(self, sku: str, location: str, on_hand: int | None) -> None:
        levels = [{"sku": sku, "location": location, "on_hand": on_hand}]
        (await self.http.put("/trial/levels", json=levels)).raise_for_status()

    async def fault(self, fault: str, times: int | None = None, **more: Any) -> None:
        wanted = {"fault": fault, "times": times} | more
        (await self.http.post("/trial/faults", json=wanted)).raise_for_status()

    async def page_size(self, levels: int) -> None:
        (await self.http.put("/trial/page-size", json={"levels": levels})).raise_for_status()

    async def ship(self, order_id: str, **units: int) -> CreatedFulfillment:
        """Take in an order and fulfill it."""
        await self.shop.order(order_id, **units)
        await self.shop.call(inventory.reserve, order_id)
        return await self.shop.call(fulfillment.create, order_id)

    async def close(self) -> None:
        await self.client.close()
        await self.http.aclose()


@pytest.fixture
async def stand(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Stand]:
    async with warehouse.running(tmp_path, 0, database_url) as url:
        stand = Stand(Shop(database), url)
        await stand.shop.stock("MUG", north=10, south=4)
        await stand.shop.stock("CUP", south=7)
        yield stand
        await stand.close()


class TestLevels:
    async def test_it_agrees_with_the_shop(self, stand: Stand) -> None:
        assert await stand.on_hand("MUG", "CUP") == {("MUG", "north"): 10, ("MUG", "south"): 4, ("CUP", "south"): 7}

    async def test_what_is_reserved_still_lies_there(self, stand: Stand) -> None:
        await stand.shop.order("1", MUG=3)
        await stand.shop.call(inventory.reserve, "1")
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 10

    async def test_it_knows_of_fulfillments_and_cancels(self, stand: Stand) -> None:
        made = await stand.ship("1", MUG=3)
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 7
        await stand.shop.call(fulfillment.cancel, made, "1")
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 10

    async def test_an_unknown_sku_is_absent(self, stand: Stand) -> None:
        assert await stand.on_hand("CUP", "HAT") == {("CUP", "south"): 7}

    async def test_a_sku_asked_for_twice_is_answered_once(self, stand: Stand) -> None:
        assert len((await stand.ask("CUP", "CUP")).levels) == 1

    async def test_a_level_that_was_set(self, stand: Stand) -> None:
        await stand.set("MUG", "north", 40)
        assert await stand.on_hand("MUG") == {("MUG", "north"): 40, ("MUG", "south"): 4}
        await stand.set("MUG", "north", 30)
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 30

    async def test_moves_with_what_the_shop_moves_from_then_on(self, stand: Stand) -> None:
        await stand.ship("1", MUG=2)
        await stand.set("MUG", "north", 40)
        made = await stand.ship("2", MUG=3)
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 37
        await stand.shop.call(fulfillment.cancel, made, "2")
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 40

    async def test_and_not_with_its_books(self, stand: Stand) -> None:
        await stand.set("MUG", "north", 40)
        await stand.shop.add_stock("MUG", north=5, south=5)  # as an import does
        assert await stand.on_hand("MUG") == {("MUG", "north"): 40, ("MUG", "south"): 9}

    async def test_a_level_may_be_set_where_the_shop_has_none(self, stand: Stand) -> None:
        await stand.set("CUP", "moon", 1)
        await stand.set("HAT", "north", 2)
        assert await stand.on_hand("CUP", "HAT") == {("CUP", "moon"): 1, ("CUP", "south"): 7, ("HAT", "north"): 2}

    async def test_a_level_may_be_unknown(self, stand: Stand) -> None:
        await stand.set("CUP", "south", None)
        assert await stand.on_hand("CUP") == {}

    async def test_a_shelf_holds_nothing_less_than_nothing(self, stand: Stand) -> None:
        await stand.set("MUG", "north", 1)
        await stand.ship("1", MUG=3)
        assert (await stand.on_hand("MUG"))["MUG", "north"] == 0

    async def test_it_agrees_again_when_the_levels_are_cleared(self, stand: Stand) -> None:
        await stand.set("CUP", "south", 1)
        (await stand.http.delete("/trial/levels")).raise_for_status()
        assert await stand.on_hand("CUP") == {("CUP", "south"): 7}

    async def test_a_level_that_cannot_be_is_refused(self, stand: Stand) -> None:
        good = {"sku": "CUP", "location": "south", "on_hand": 1}
        for wrong in ({"on_hand": -1}, {"on_hand": 2**31}, {"on_hand": "x"}, {"sku": ""}, {"sku": "M\0G"}):
            assert (await stand.http.put("/trial/levels", json=[good, good | wrong])).status_code == 422
        assert await stand.on_hand("CUP") == {("CUP", "south"): 7}


class TestReadings:
    """What a sync makes of an answer is right, however transactions overlap it."""

    async def test_what_is_shipped_after_the_answer_is_added_by_the_sync(self, stand: Stand) -> None:
        answer = await stand.ask("MUG")
        await stand.ship("1", MUG=3)
        assert (await stand.after(answer))["MUG", "north"] == 7

    @pytest.mark.parametrize("told", [None, 40])
    async def test_what_is_not_committed_yet_is_neither_counted_nor_lost(self, stand: Stand, told: int | None) -> None:
        before = 10 if told is None else told
        if told is not None:
            await stand.set("MUG", "north", told)
        await stand.shop.order("1", MUG=3)
        await stand.shop.call(inventory.reserve, "1")
        async with stand.shop.database.transaction() as tx:
            await fulfillment.create(tx, "1")
            answer = await stand.ask("MUG")
            assert answer.levels[0].on_hand == before
            assert (await stand.synced("MUG"))["MUG", "north"] == before
        assert (await stand.after(answer))["MUG", "north"] == before - 3
        assert (await stand.synced("MUG"))["MUG", "north"] == before - 3

    async def test_what_others_ship_under_an_open_transaction_is_counted_once(self, stand: Stand) -> None:
        await stand.shop.order("1", CUP=1)
        async with stand.shop.database.transaction() as tx:
            await inventory.reserve(tx, "1")
            await stand.ship("2", MUG=3)
            answer = await stand.ask("MUG")
            assert answer.levels[0].on_hand == 10  # the reading is from before the open transaction
            assert (await stand.after(answer))["MUG", "north"] == 7

    async def test_a_level_that_is_set_under_an_open_transaction(self, stand: Stand) -> None:
        await stand.shop.order("1", MUG=1)
        await stand.shop.call(inventory.reserve, "1")
        async with stand.shop.database.transaction() as tx:
            await tx.connection()
            await stand.ship("2", MUG=3)
            await stand.set("MUG", "north", 40)  # what is left after that shipment
            assert (await stand.synced("MUG"))["MUG", "north"] == 40
            await fulfillment.create(tx, "1")
            answer = await stand.ask("MUG")
        assert (await stand.after(answer))["MUG", "north"] == 39
        assert (await stand.synced("MUG"))["MUG", "north"] == 39

    async def test_any_answer_is_right_in_the_end(self, stand: Stand) -> None:
        await stand.set("CUP", "south", 30)
        asking = [asyncio.create_task(stand.ask("MUG", "CUP")) for _ in range(10)]
        orders = [stand.ship(str(number), MUG=1, CUP=number % 2 + 1) for number in range(4)]
        made, *_ = await asyncio.gather(*orders)
        asking += [asyncio.create_task(stand.ask("MUG", "CUP")) for _ in range(10)]
        await stand.shop.call(fulfillment.cancel, made, "0")
        for answer in await asyncio.gather(*asking):
            assert await stand.after(answer) == {("CUP", "south"): 25, ("MUG", "north"): 7, ("MUG", "south"): 4}

    async def test_an_import_after_an_old_reading_is_no_movement_of_goods(self, stand: Stand) -> None:
        async with stand.shop.database.transaction() as tx:
            await tx.connection()
            await stand.shop.add_stock("MUG", north=5)
            assert (await stand.synced("MUG"))["MUG", "north"] == 15

    async def test_the_reading_is_never_later_than_now(self, stand: Stand) -> None:
        assert (await stand.ask("MUG")).as_of < datetime.now(UTC)


class TestPages:
    async def test_all_pages_are_of_one_reading(self, stand: Stand) -> None:
        await stand.page_size(1)
        first = (await stand.http.post("/levels", json={"skus": ["MUG", "CUP"]})).json()
        await stand.ship("1", MUG=3)
        await stand.set("CUP", "south", 9)
        pages = [first]
        while token := pages[-1]["next"]:
            question = {"skus": ["MUG", "CUP"], "page": token}
            pages.append((await stand.http.post("/levels", json=question)).json())
        assert {page["as_of"] for page in pages} == {first["as_of"]}
        assert [(level["sku"], level["location"], level["on_hand"]) for page in pages for level in page["levels"]] == [
            *[("CUP", "south", 7), ("MUG", "north", 10), ("MUG", "south", 4)]
        ]

    async def test_pages_of_any_size_are_the_whole(self, stand: Stand) -> None:
        for size in range(1, 5):
            await stand.page_size(size)
            assert await stand.on_hand("MUG", "CUP") == {("MUG", "north"): 10, ("MUG", "south"): 4, ("CUP", "south"): 7}

    async def test_a_page_of_somebody_else_is_refused(self, stand: Stand) -> None:
        for token in ("x", "", "AAAA", "W10=", "é"):
            answer = await stand.http.post("/levels", json={"skus": ["MUG"], "page": token})
            assert answer.status_code == 422

    async def test_so_is_what_is_no_question(self, stand: Stand) -> None:
        for question in ({}, {"skus": []}, {"skus": ["MUG"] * 1001}, {"skus": ["M\0G"]}, {"skus": "MUG"}):
            assert (await stand.http.post("/levels", json=question)).status_code == 422

    async def test_a_long_name_fits_into_a_token(self, stand: Stand) -> None:
        names = ["😀" * 254 + end for end in "ab"]
        for name in names:
            await stand.set(name, name, 1)
        await stand.page_size(1)
        assert len(await stand.on_hand(*names)) == 2


class TestFaults:
    @pytest.mark.parametrize("fault", ["500", "429", "cut"])
    async def test_what_passes_is_outlasted(self, stand: Stand, fault: str) -> None:
        await stand.fault(fault, times=1, seconds=0)
        assert (await stand.on_hand("CUP"))["CUP", "south"] == 7

    @pytest.mark.parametrize("fault", ["500", "429"])
    async def test_what_stays_is_told(self, stand: Stand, fault: str) -> None:
        await stand.fault(fault, seconds=600)
        with pytest.raises(WarehouseUnavailable, match=fault):
            await stand.ask("CUP")

    async def test_too_many_questions_says_when_to_come_again(self, stand: Stand) -> None:
        await stand.fault("429", seconds=1.5)
        assert (await stand.http.post("/levels", json={"skus": ["CUP"]})).headers["Retry-After"] == "2"

    async def test_slow_is_late(self, stand: Stand) -> None:
        await stand.fault("slow", seconds=0.2)
        assert (await stand.on_hand("CUP"))["CUP", "south"] == 7
        hasty = Warehouse(stand.url, timeout=0.05)
        with pytest.raises(WarehouseUnavailable):
            await hasty.levels(["CUP"])
        await hasty.close()

    @pytest.mark.parametrize(
        ("fault", "field"),
        [("rubbish", "body"), ("twice", "next"), ("negative", "levels.0.on_hand"), ("endless", "next")],
    )
    async def test_what_spoils_an_answer_is_found_out(self, stand: Stand, fault: str, field: str) -> None:
        await stand.page_size(2)
        await stand.fault(fault)
        with pytest.raises(WarehouseAnswerInvalid) as raised:
            await stand.ask("MUG", "CUP")
        assert raised.value.field == field

    async def test_one_page_twice_does_no_harm(self, stand: Stand) -> None:
        await stand.fault("twice", times=1)
        assert await stand.on_hand("CUP") == {("CUP", "south"): 7}

    async def test_half_an_answer_looks_like_unknown_skus(self, stand: Stand) -> None:
        await stand.fault("half")
        assert await stand.on_hand("MUG", "CUP") == {("CUP", "south"): 7, ("MUG", "south"): 4}

    async def test_a_fault_may_be_for_one_sku(self, stand: Stand) -> None:
        await stand.fault("negative", sku="MUG")
        assert await stand.on_hand("CUP") == {("CUP", "south"): 7}
        with pytest.raises(WarehouseAnswerInvalid):
            await stand.ask("CUP", "MUG")

    async def test_faults_are_shown_and_removed(self, stand: Stand) -> None:
        await stand.fault("500", times=2)
        await stand.ask("CUP")
        assert (await stand.http.get("/trial/faults")).json()[0] | {"seconds": 0} == {
            "fault": "500",
            "times": 0,
            "sku": None,
            "seconds": 0,
        }
        await stand.fault("500")
        await stand.http.delete("/trial/faults")
        assert (await stand.http.get("/trial/faults")).json() == []
        await stand.ask("CUP")

    async def test_without_its_database_it_is_unavailable(self, tmp_path: Path) -> None:
        away = "postgresql://nobody@127.0.0.1:1/nothing"
        async with warehouse.running(tmp_path, 0, away) as url, httpx.AsyncClient(base_url=url) as http:
            answer = await http.post("/levels", json={"skus": ["CUP"]})
        assert (answer.status_code, "nobody" in answer.text) == (503, False)

    async def test_at_another_root_there_is_no_such_api(self, stand: Stand) -> None:
        elsewhere = Warehouse(f"{stand.url}/v2")
        with pytest.raises(WarehouseRefused, match="404"):
            await elsewhere.levels(["CUP"])
        await elsewhere.close()


class TestProcess:
    @pytest.fixture
    def command(self, tmp_path: Path) -> list[str]:
        return [sys.executable, "-m", "starter.devstack.warehouse", "--data-dir", str(tmp_path / "d"), "--port"]

    @contextmanager
    def started(self, command: list[str], database_url: str) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
        """Run the warehouse as a process of its own, on a free port."""
        environment = os.environ | {"COMMERCE_DATABASE_URL": database_url}
        with ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen([*command, "0"], env=environment, stderr=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stderr is not None
            url = process.stderr.readline().strip().removeprefix("warehouse: listening on ")
            yield process, stack.enter_context(httpx.Client(base_url=url))

    def test_it_forgets_no_level_when_it_is_killed(self, command: list[str], database_url: str) -> None:
        told = {"sku": "MUG", "location": "north", "on_hand": 5}
        with self.started(command, database_url) as (process, http):
            http.put("/trial/levels", json=[told]).raise_for_status()
            process.kill()
        with self.started(command, database_url) as (_, http):
            assert http.post("/levels", json={"skus": ["MUG"]}).json()["levels"] == [told]

    def test_it_stops_cleanly(self, command: list[str], database_url: str) -> None:
        with self.started(command, database_url) as (process, http):
            http.post("/levels", json={"skus": ["MUG"]})  # a connection that stays open
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")

    def test_a_port_in_use_is_one_line(self, command: list[str], database_url: str) -> None:
        with self.started(command, database_url) as (_, http):
            done = subprocess.run([*command, str(http.base_url.port)], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("warehouse: cannot serve: ")
        assert done.stderr.count("\n") == 1


class TestDocument:
    def test_it_is_current(self) -> None:
        assert DOCUMENT.read_text() == rendered(), (
            "Write it anew: python -m starter.devstack.warehouse.openapi > docs/warehouse.openapi.json"
        )

    def test_it_has_the_public_route_only(self) -> None:
        document = json.loads(DOCUMENT.read_text())
        assert document["openapi"].startswith("3.1.")
        assert list(document["paths"]) == ["/levels"]

    async def test_the_embedded_warehouse_answers_as_it_says(self, stand: Stand) -> None:
        for size in (1, 1000):
            await stand.page_size(size)
            answer = (await stand.http.post("/levels", json={"skus": ["MUG", "CUP", "HAT"], "page": None})).json()
            assert misfits(answer, "Answer") == []

    async def test_and_what_is_spoilt_is_not_as_it_says(self, stand: Stand) -> None:
        await stand.fault("negative", times=1)
        answer = (await stand.http.post("/levels", json={"skus": ["MUG"], "page": None})).json()
        assert misfits(answer, "Answer") == [".levels[0].on_hand"]
        assert misfits(answer | {"as_of": "2026-03-02T12:00:00"}, "Answer")[0] == ".as_of"
        assert misfits({"levels": 7}, "Answer") == [".as_of", ".levels", ".next"]

    def test_the_question_we_ask_is_the_one_it_describes(self) -> None:
        assert misfits({"skus": ["MUG"], "page": None}, "Question") == []
        assert misfits({"skus": ["MUG"], "page": "2"}, "Question") == []
        assert misfits({"skus": [], "page": 2}, "Question") == [".skus", ".page"]


def misfits(value: Any, name: str) -> list[str]:
    """Return the places where a value is not what the document's schema of this name says."""
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    return list(_misfits(value, schemas[name], schemas, ""))


KINDS = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}
KNOWN = {"title", "description", "type", "properties", "required", "items", "anyOf", "$ref", "format", "pattern"} | {
    *("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")
}


def _misfits(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> Iterator[str]:
    assert set(schema) <= KNOWN
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        if all(list(_misfits(value, one, schemas, at)) for one in schema["anyOf"]):
            yield at
    elif type(value) is not KINDS[schema["type"]] or not _within(value, schema):
        yield at
    elif isinstance(value, dict):
        for name, below in schema["properties"].items():
            if name in value:
                yield from _misfits(value[name], below, schemas, f"{at}.{name}")
            elif name in schema["required"]:
                yield f"{at}.{name}"
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _misfits(one, schema["items"], schemas, f"{at}[{number}]")


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
