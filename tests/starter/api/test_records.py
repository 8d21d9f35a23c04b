"""`GET /stock`, `/notifications` and `/events`, and mails sent again over HTTP."""

from pathlib import Path

from temporalio.client import Client

from commerce import notifications
from tests.running_shop import running_shop
from tests.starter.api.api_client import create_api, in_process_client


async def test_stock_mails_and_events_over_http(tmp_path: Path, database_url: str, client: Client) -> None:
    async with running_shop(tmp_path, database_url, client) as shop, in_process_client(create_api(shop)) as http:
        await shop.data.stock("A/B", main=3)
        assert (await http.get("/stock", params={"search": "A/"})).json()["items"][0]["levels"][0]["stocked"] == 3
        moved = (await http.get("/stock/movements", params={"sku": "A/B"})).json()
        assert ([each["quantity"] for each in moved["movements"]], moved["next_cursor"]) == ([3], None)
        missing = await http.get("/stock/movements", params={"sku": "TEA"})
        assert (missing.status_code, missing.json()["code"]) == (404, "ItemNotFound")

        await shop.data.call(notifications.queue, key="m/1", kind="m", recipient="ann@customer.example")
        assert (await http.post("/notifications/m/1/resend")).status_code == 409
        await shop.data.sql("UPDATE notifications SET status = 'sent'")
        resent = await http.post("/notifications/m/1/resend", json={"reason": "she lost it"})
        assert (resent.status_code, resent.json()) == (202, {"key": "m/1/copy-1"})
        assert (await http.post("/notifications/m/2/resend")).status_code == 404
        listed = (await http.get("/notifications", params={"status": "queued"})).json()["notifications"]
        assert [(mail["key"], mail["recipient"]) for mail in listed] == [("m/1/copy-1", "a…@customer.example")]

        assert (await http.get("/events")).json() == {"events": [], "next_cursor": None}
        for path in ("/stock/movements?sku=A/B&cursor=99", "/notifications?cursor=9", "/events?cursor=9"):
            wrong = await http.get(path)
            assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "query.cursor")
