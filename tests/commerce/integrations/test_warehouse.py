"""The warehouse client: every answer is validated, and returned completely or not at all (J6)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any

import httpx
import pytest

from commerce.errors import WarehouseAnswerInvalid, WarehouseRefused, WarehouseUnavailable
from commerce.integrations import warehouse as module
from commerce.integrations.warehouse import Warehouse
from commerce.stock_sync import CountedLevel

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
Answer = Callable[[httpx.Request], httpx.Response] | httpx.Response | Exception


def level(sku: str = "MUG", location: str = "north", on_hand: Any = 3, **more: Any) -> dict[str, Any]:
    return {"sku": sku, "location": location, "on_hand": on_hand} | more


def page(*levels: Any, next: str | None = None, as_of: Any = "2026-03-02T12:00:00Z", **more: Any) -> httpx.Response:  # noqa: A002
    return httpx.Response(200, json={"as_of": as_of, "levels": levels, "next": next} | more)


def failing(status: int, retry_after: str | None = None) -> httpx.Response:
    return httpx.Response(status, headers={} if retry_after is None else {"Retry-After": retry_after}, text="MUG")


class FakeWarehouse:
    """A warehouse that sends these responses in turn, and our client, whose delays are recorded but not waited for."""

    def __init__(self, *answers: Answer) -> None:
        self.left = list(answers)
        self.requests: list[Any] = []
        self.delays: list[float] = []
        self.client = Warehouse(
            "https://warehouse.example/api", transport=httpx.MockTransport(self._answer), sleep=self._sleep
        )

    async def levels(self, *skus: str) -> list[tuple[str, str, int]]:
        answer = await self.client.levels(skus or ("MUG",))
        assert self.left == []
        return [(found.sku, found.location, found.on_hand) for found in answer.levels]

    async def invalid(self, *skus: str) -> tuple[str, str]:
        """Return the invalid field, and the problem."""
        with pytest.raises(WarehouseAnswerInvalid) as raised:
            await self.client.levels(skus or ("MUG",))
        assert raised.value.__cause__ is None
        return raised.value.field, raised.value.problem

    async def unavailable(self) -> str:
        with pytest.raises(WarehouseUnavailable) as raised:
            await self.client.levels(["MUG"])
        assert raised.value.__cause__ is None
        return raised.value.reason

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url) == ("POST", "https://warehouse.example/api/levels")
        self.requests.append(json.loads(request.content))
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)


class TestAnswers:
    async def test_the_levels_of_the_requested_skus_are_returned(self) -> None:
        fake = FakeWarehouse(page(level(), level(location="south", on_hand=0)))
        assert await fake.levels("MUG", "CUP") == [("MUG", "north", 3), ("MUG", "south", 0)]
        assert fake.requests == [{"skus": ["MUG", "CUP"], "page": None}]

    async def test_pages_are_merged(self) -> None:
        fake = FakeWarehouse(page(level("A"), next="2"), page(next="3"), page(level("B")))
        assert await fake.levels("A", "B") == [("A", "north", 3), ("B", "north", 3)]
        assert [request["page"] for request in fake.requests] == [None, "2", "3"]

    async def test_a_level_has_the_time_of_its_page_and_the_answer_has_the_earliest(self) -> None:
        later = page(level("A"), next="2", as_of="2026-03-02T14:00:05.250+02:00")
        answer = await FakeWarehouse(later, page(level("B"))).client.levels(["A", "B"])
        assert answer.as_of == NOON
        assert answer.levels == (
            CountedLevel("A", "north", 3, NOON + timedelta(seconds=5.25)),
            CountedLevel("B", "north", 3, NOON),
        )
        assert answer.levels[0].as_of.tzinfo is UTC

    async def test_a_repeated_equal_level_counts_once(self) -> None:
        assert await FakeWarehouse(page(level(), next="2"), page(level())).levels() == [("MUG", "north", 3)]

    async def test_unknown_fields_are_ignored(self) -> None:
        assert await FakeWarehouse(page(level(color="red"), total=1)).levels() == [("MUG", "north", 3)]

    async def test_the_largest_quantity_is_accepted(self) -> None:
        assert await FakeWarehouse(page(level(on_hand=2**31 - 1))).levels() == [("MUG", "north", 2**31 - 1)]

    async def test_a_warehouse_may_know_none_of_the_skus(self) -> None:
        assert await FakeWarehouse(page()).levels() == []

    @pytest.mark.parametrize("number", [0, 1001])
    async def test_the_number_of_skus_is_limited(self, number: int) -> None:
        with pytest.raises(ValueError, match="1 to 1,000"):
            await FakeWarehouse().client.levels(["MUG"] * number)


class TestInvalidAnswers:
    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"on_hand": -1}, "on_hand"),
            ({"on_hand": 2**31}, "on_hand"),
            ({"on_hand": 3.0}, "on_hand"),
            ({"on_hand": "3"}, "on_hand"),
            ({"on_hand": True}, "on_hand"),
            ({"on_hand": None}, "on_hand"),
            ({"sku": "M\0G"}, "sku"),
            ({"sku": 7}, "sku"),
            ({"location": ""}, "location"),
            ({"location": "n" * 256}, "location"),
            ({"location": "nor\0th"}, "location"),
        ],
        ids=str,
    )
    async def test_an_invalid_level_is_refused(self, wrong: dict[str, Any], field: str) -> None:
        assert (await FakeWarehouse(page(level(), level() | wrong)).invalid())[0] == f"levels.1.{field}"

    @pytest.mark.parametrize(
        "as_of",
        ["2026-03-02T12:00:00", "2026-03-02", "yesterday", "1772452800", 1772452800, None, "0001-01-01T00:00:00+14:00"],
        ids=str,
    )
    async def test_an_invalid_time_is_refused(self, as_of: Any) -> None:
        assert (await FakeWarehouse(page(level(), as_of=as_of)).invalid())[0] == "as_of"

    async def test_a_future_time_is_refused_because_it_would_hide_our_movements(self) -> None:
        ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert await FakeWarehouse(page(level(), as_of=ahead)).invalid() == ("as_of", "is in the future")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"<html>MUG</html>", "body"),
            (b"", "body"),
            (b"\xff", "body"),
            (b"[]", "body"),
            (b"{}", "as_of"),
            (b'{"as_of": "2026-03-02T12:00:00Z", "levels": []}', "next"),
            (b'{"as_of": "2026-03-02T12:00:00Z", "levels": {}, "next": null}', "levels"),
            (b'{"as_of": "2026-03-02T12:00:00Z", "levels": [7], "next": null}', "levels.0"),
            (b'{"as_of": "2026-03-02T12:00:00Z", "levels": [], "next": 2}', "next"),
        ],
        ids=str,
    )
    async def test_an_invalid_body_is_refused(self, body: bytes, field: str) -> None:
        assert (await FakeWarehouse(httpx.Response(200, content=body)).invalid())[0] == field

    async def test_the_error_names_the_field_without_its_value(self) -> None:
        with pytest.raises(WarehouseAnswerInvalid) as raised:
            await FakeWarehouse(page(level(on_hand="secret", sku="secret"))).client.levels(["MUG"])
        assert str(raised.value) == (
            "The warehouse's answer violates its API: levels.0.on_hand: Input should be a valid integer."
        )

    async def test_a_sku_that_was_not_requested_is_refused(self) -> None:
        assert await FakeWarehouse(page(level(), level("CUP"))).invalid() == ("levels.1.sku", "was not requested")

    @pytest.mark.parametrize(
        "answers", [[page(level(), level(on_hand=4))], [page(level(), next="2"), page(level(on_hand=4))]]
    )
    async def test_two_quantities_of_one_level_are_refused(self, answers: list[httpx.Response]) -> None:
        assert "differs from an earlier level" in (await FakeWarehouse(*answers).invalid())[1]

    async def test_a_repeated_token_is_refused(self) -> None:
        fake = FakeWarehouse(page(level("A"), next="2"), page(level("B"), next="3"), page(level("A"), next="2"))
        assert await fake.invalid("A", "B") == ("next", "repeats the token of an earlier page")

    async def test_endless_pages_are_refused(self) -> None:
        numbers = count()
        fake = FakeWarehouse(*[lambda _: page(level(), next=str(next(numbers)))] * (module.MAX_PAGES + 1))
        assert await fake.invalid() == ("next", "continues after 100 pages")
        assert len(fake.requests) == module.MAX_PAGES

    async def test_too_many_levels_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_LEVELS", 3)
        one = page(level(), level(location="south"), next="2")
        other = page(level(location="east"), level(location="west"))
        assert await FakeWarehouse(one, other).invalid() == ("levels", "are more than 3 on all pages")

    async def test_reading_stops_when_a_body_is_too_large(self) -> None:
        sent = 0

        async def without_end() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b" " * 1024 * 1024

        answer = httpx.Response(200, content=without_end())
        assert await FakeWarehouse(answer).invalid() == ("body", "is larger than 8,388,608 bytes")
        assert sent == 9

    async def test_an_invalid_page_invalidates_the_answer(self) -> None:
        assert await FakeWarehouse(page(level(), next="2"), page(level(on_hand=-1))).invalid()


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
    async def test_a_refusal_is_final(self, status: int) -> None:
        with pytest.raises(WarehouseRefused) as raised:
            await FakeWarehouse(failing(status)).client.levels(["MUG"])
        assert str(raised.value) == f"The warehouse refused the request (HTTP {status})."


class TestRetries:
    @pytest.mark.parametrize(
        "failed",
        [
            *[failing(status) for status in (408, 425, 429, 500, 502, 503, 302)],
            *[
                httpx.ConnectError("no"),
                httpx.ReadTimeout("late"),
                httpx.RemoteProtocolError("cut"),
                ConnectionResetError(),
            ],
        ],
        ids=str,
    )
    async def test_a_temporary_failure_is_retried(self, failed: Answer) -> None:
        fake = FakeWarehouse(failed, failed, page(level()))
        assert await fake.levels() == [("MUG", "north", 3)]
        assert fake.delays == [0.2, 1.0]

    async def test_the_number_of_attempts_is_limited(self) -> None:
        fake = FakeWarehouse(*[failing(503)] * 3)
        assert await fake.unavailable() == "HTTP 503"
        assert len(fake.requests) == 3

    async def test_each_page_has_its_own_attempts(self) -> None:
        failed = failing(500)
        fake = FakeWarehouse(failed, failed, page(level(), next="2"), failed, failed, page(level(location="south")))
        assert len(await fake.levels()) == 2
        assert [request["page"] for request in fake.requests] == [None, None, None, "2", "2", "2"]

    async def test_the_delays_of_all_pages_are_limited_together(self) -> None:
        pages = [answer for n in range(9) for answer in (failing(500), failing(500), page(next=str(n)))]
        fake = FakeWarehouse(*pages)
        assert await fake.unavailable() == "HTTP 500"
        assert sum(fake.delays) <= module.MAX_DELAY

    async def test_retry_after_in_seconds_is_respected(self) -> None:
        fake = FakeWarehouse(failing(429, "2"), failing(503, "0"), page(level()))
        await fake.levels()
        assert fake.delays == [2, 1]

    async def test_retry_after_as_a_date_is_respected(self) -> None:
        fake = FakeWarehouse(
            failing(429, format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)), page()
        )
        await fake.levels()
        assert 1 < fake.delays[0] <= 4

    @pytest.mark.parametrize("header", ["6", "9" * 5000, "Wed, 21 Oct 2099 07:28:00 GMT"])
    async def test_a_retry_after_beyond_the_limit_ends_the_query(self, header: str) -> None:
        fake = FakeWarehouse(failing(429, header))
        assert await fake.unavailable() == "HTTP 429"
        assert fake.delays == []

    @pytest.mark.parametrize(
        "header", ["soon", "-1", "", "Wed, 21 Oct 2015 07:28:00 GMT", "1 Jan 2026 9999999999999999:0:0"]
    )
    async def test_an_invalid_retry_after_is_ignored(self, header: str) -> None:
        fake = FakeWarehouse(failing(429, header), page())
        await fake.levels()
        assert fake.delays == [0.2]

    async def test_a_closed_port_makes_it_unavailable(self) -> None:
        client = Warehouse("http://127.0.0.1:1", sleep=FakeWarehouse()._sleep)
        with pytest.raises(WarehouseUnavailable, match="ConnectError"):
            await client.levels(["MUG"])
        await client.close()

    async def test_a_query_has_a_time_limit(self) -> None:
        async def never(_request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        hasty = Warehouse("http://warehouse", timeout=0.05, transport=httpx.MockTransport(never))
        with pytest.raises(WarehouseUnavailable, match=r"no complete answer within 0\.05 s"):
            await hasty.levels(["MUG"])

    async def test_the_time_limit_is_below_that_of_the_step(self) -> None:
        assert module.CALL_TIMEOUT < 30
