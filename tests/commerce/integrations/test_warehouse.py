"""The warehouse: nothing of an answer is believed unchecked, and no half of one is returned (J6)."""

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


def refusing(status: int, retry_after: str | None = None) -> httpx.Response:
    return httpx.Response(status, headers={} if retry_after is None else {"Retry-After": retry_after}, text="MUG")


class Stand:
    """A warehouse that gives these answers one after the other, and our client of it, whose pauses take no time."""

    def __init__(self, *answers: Answer) -> None:
        self.left = list(answers)
        self.questions: list[Any] = []
        self.pauses: list[float] = []
        self.client = Warehouse(
            "https://warehouse.example/api", transport=httpx.MockTransport(self._answer), sleep=self._pause
        )

    async def levels(self, *skus: str) -> list[tuple[str, str, int]]:
        answer = await self.client.levels(skus or ("MUG",))
        assert self.left == []
        return [(found.sku, found.location, found.on_hand) for found in answer.levels]

    async def invalid(self, *skus: str) -> tuple[str, str]:
        """Return the field that does not fit, and why."""
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
        self.questions.append(json.loads(request.content))
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


class TestAnswers:
    async def test_the_levels_of_what_was_asked(self) -> None:
        stand = Stand(page(level(), level(location="south", on_hand=0)))
        assert await stand.levels("MUG", "CUP") == [("MUG", "north", 3), ("MUG", "south", 0)]
        assert stand.questions == [{"skus": ["MUG", "CUP"], "page": None}]

    async def test_pages_are_merged(self) -> None:
        stand = Stand(page(level("A"), next="2"), page(next="3"), page(level("B")))
        assert await stand.levels("A", "B") == [("A", "north", 3), ("B", "north", 3)]
        assert [question["page"] for question in stand.questions] == [None, "2", "3"]

    async def test_each_level_keeps_the_time_of_its_page_and_the_whole_has_the_earliest(self) -> None:
        later = page(level("A"), next="2", as_of="2026-03-02T14:00:05.250+02:00")
        answer = await Stand(later, page(level("B"))).client.levels(["A", "B"])
        assert answer.as_of == NOON
        assert answer.levels == (
            CountedLevel("A", "north", 3, NOON + timedelta(seconds=5.25)),
            CountedLevel("B", "north", 3, NOON),
        )
        assert answer.levels[0].as_of.tzinfo is UTC

    async def test_a_level_that_comes_twice_alike_counts_once(self) -> None:
        assert await Stand(page(level(), next="2"), page(level())).levels() == [("MUG", "north", 3)]

    async def test_fields_that_nobody_knows_are_ignored(self) -> None:
        assert await Stand(page(level(color="red"), total=1)).levels() == [("MUG", "north", 3)]

    async def test_the_largest_quantity(self) -> None:
        assert await Stand(page(level(on_hand=2**31 - 1))).levels() == [("MUG", "north", 2**31 - 1)]

    async def test_a_warehouse_may_know_nothing(self) -> None:
        assert await Stand(page()).levels() == []

    @pytest.mark.parametrize("number", [0, 1001])
    async def test_a_question_has_its_bounds(self, number: int) -> None:
        with pytest.raises(ValueError, match="1 to 1,000"):
            await Stand().client.levels(["MUG"] * number)


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
    async def test_a_level_that_does_not_fit(self, wrong: dict[str, Any], field: str) -> None:
        assert (await Stand(page(level(), level() | wrong)).invalid())[0] == f"levels.1.{field}"

    @pytest.mark.parametrize(
        "as_of",
        ["2026-03-02T12:00:00", "2026-03-02", "yesterday", "1772452800", 1772452800, None, "0001-01-01T00:00:00+14:00"],
        ids=str,
    )
    async def test_a_time_that_does_not_fit(self, as_of: Any) -> None:
        assert (await Stand(page(level(), as_of=as_of)).invalid())[0] == "as_of"

    async def test_a_time_to_come_would_hide_our_movements(self) -> None:
        ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert await Stand(page(level(), as_of=ahead)).invalid() == ("as_of", "is in the future")

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
    async def test_a_body_that_does_not_fit(self, body: bytes, field: str) -> None:
        assert (await Stand(httpx.Response(200, content=body)).invalid())[0] == field

    async def test_the_error_says_which_field_and_nothing_of_what_is_in_it(self) -> None:
        with pytest.raises(WarehouseAnswerInvalid) as raised:
            await Stand(page(level(on_hand="secret", sku="secret"))).client.levels(["MUG"])
        assert str(raised.value) == (
            "The warehouse's answer violates its API: levels.0.on_hand: Input should be a valid integer."
        )

    async def test_a_sku_that_was_not_asked_for(self) -> None:
        assert await Stand(page(level(), level("CUP"))).invalid() == ("levels.1.sku", "was not requested")

    @pytest.mark.parametrize(
        "answers", [[page(level(), level(on_hand=4))], [page(level(), next="2"), page(level(on_hand=4))]]
    )
    async def test_one_level_with_two_quantities(self, answers: list[httpx.Response]) -> None:
        assert "differs from an earlier level" in (await Stand(*answers).invalid())[1]

    async def test_a_page_that_comes_again(self) -> None:
        stand = Stand(page(level("A"), next="2"), page(level("B"), next="3"), page(level("A"), next="2"))
        assert await stand.invalid("A", "B") == ("next", "repeats the token of an earlier page")

    async def test_pages_without_end(self) -> None:
        numbers = count()
        stand = Stand(*[lambda _: page(level(), next=str(next(numbers)))] * (module.MAX_PAGES + 1))
        assert await stand.invalid() == ("next", "continues after 100 pages")
        assert len(stand.questions) == module.MAX_PAGES

    async def test_more_levels_than_anybody_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_LEVELS", 3)
        one = page(level(), level(location="south"), next="2")
        other = page(level(location="east"), level(location="west"))
        assert await Stand(one, other).invalid() == ("levels", "are more than 3 on all pages")

    async def test_a_body_that_is_too_large_is_not_read_to_its_end(self) -> None:
        sent = 0

        async def without_end() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b" " * 1024 * 1024

        answer = httpx.Response(200, content=without_end())
        assert await Stand(answer).invalid() == ("body", "is larger than 8,388,608 bytes")
        assert sent == 9

    async def test_a_later_page_that_does_not_fit_spoils_the_whole(self) -> None:
        assert await Stand(page(level(), next="2"), page(level(on_hand=-1))).invalid()


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
    async def test_a_refusal_is_final(self, status: int) -> None:
        with pytest.raises(WarehouseRefused) as raised:
            await Stand(refusing(status)).client.levels(["MUG"])
        assert str(raised.value) == f"The warehouse refused the request (HTTP {status})."


class TestTries:
    @pytest.mark.parametrize(
        "failed",
        [
            *[refusing(status) for status in (408, 425, 429, 500, 502, 503, 302)],
            *[
                httpx.ConnectError("no"),
                httpx.ReadTimeout("late"),
                httpx.RemoteProtocolError("cut"),
                ConnectionResetError(),
            ],
        ],
        ids=str,
    )
    async def test_what_may_pass_is_tried_again(self, failed: Answer) -> None:
        stand = Stand(failed, failed, page(level()))
        assert await stand.levels() == [("MUG", "north", 3)]
        assert stand.pauses == [0.2, 1.0]

    async def test_but_not_for_ever(self) -> None:
        stand = Stand(*[refusing(503)] * 3)
        assert await stand.unavailable() == "HTTP 503"
        assert len(stand.questions) == 3

    async def test_each_page_has_its_tries(self) -> None:
        failed = refusing(500)
        stand = Stand(failed, failed, page(level(), next="2"), failed, failed, page(level(location="south")))
        assert len(await stand.levels()) == 2
        assert [question["page"] for question in stand.questions] == [None, None, None, "2", "2", "2"]

    async def test_but_all_have_one_patience(self) -> None:
        pages = [answer for n in range(9) for answer in (refusing(500), refusing(500), page(next=str(n)))]
        stand = Stand(*pages)
        assert await stand.unavailable() == "HTTP 500"
        assert sum(stand.pauses) <= module.MAX_DELAY

    async def test_the_warehouse_says_how_long_to_wait(self) -> None:
        stand = Stand(refusing(429, "2"), refusing(503, "0"), page(level()))
        await stand.levels()
        assert stand.pauses == [2, 1]

    async def test_or_until_when(self) -> None:
        stand = Stand(refusing(429, format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)), page())
        await stand.levels()
        assert 1 < stand.pauses[0] <= 4

    @pytest.mark.parametrize("header", ["6", "9" * 5000, "Wed, 21 Oct 2099 07:28:00 GMT"])
    async def test_longer_than_a_step_may_take_is_not_waited(self, header: str) -> None:
        stand = Stand(refusing(429, header))
        assert await stand.unavailable() == "HTTP 429"
        assert stand.pauses == []

    @pytest.mark.parametrize(
        "header", ["soon", "-1", "", "Wed, 21 Oct 2015 07:28:00 GMT", "1 Jan 2026 9999999999999999:0:0"]
    )
    async def test_a_wait_that_says_nothing_is_ours(self, header: str) -> None:
        stand = Stand(refusing(429, header), page())
        await stand.levels()
        assert stand.pauses == [0.2]

    async def test_nobody_listens(self) -> None:
        client = Warehouse("http://127.0.0.1:1", sleep=Stand()._pause)
        with pytest.raises(WarehouseUnavailable, match="ConnectError"):
            await client.levels(["MUG"])
        await client.close()

    async def test_a_question_takes_its_time_and_no_more(self) -> None:
        async def never(_request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        hasty = Warehouse("http://warehouse", timeout=0.05, transport=httpx.MockTransport(never))
        with pytest.raises(WarehouseUnavailable, match=r"no complete answer within 0\.05 s"):
            await hasty.levels(["MUG"])

    async def test_an_attempt_ends_before_its_step(self) -> None:
        assert module.CALL_TIMEOUT < 30
