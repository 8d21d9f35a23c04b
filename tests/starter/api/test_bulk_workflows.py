"""Many processes cancelled over HTTP, and failed ones dismissed."""

from pathlib import Path
from uuid import uuid4

from temporalio.client import Client

from commerce.messages.orders import order_process_id
from tests.polling import until
from tests.running_shop import running_shop
from tests.starter.api.api_client import create_api, in_process_client


async def test_many_are_cancelled_after_a_dry_run_and_one_is_dismissed(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    process = order_process_id(order_id := uuid4().hex)
    async with running_shop(tmp_path, database_url, client) as shop, in_process_client(create_api(shop)) as http:
        handle = await shop.start(order_id)
        body = {"type": "order-processing", "search": order_id, "reason": "by mistake"}

        async def dry_run() -> bool | None:
            found = (await http.post("/workflows/cancel", json=body)).json()
            return [each["transaction_id"] for each in found["workflows"]] == [process] or None

        assert await until(dry_run)
        assert await shop.data.sql("SELECT 1 FROM operator_actions") == []
        done = (await http.post("/workflows/cancel", json=body | {"dry_run": False})).json()
        assert (done["cancelled"][0]["transaction_id"], done["refused"]) == (process, [])
        refused = await http.post(f"/workflows/{process}/dismiss")
        assert (refused.status_code, refused.json()["code"]) == (409, "DismissRefused")
        await handle.terminate()
        dismissed = await http.post(f"/workflows/{process}/dismiss", json={"reason": "known"})
        assert (dismissed.status_code, dismissed.json()["action"]) == (200, "dismiss")
        query = {"search": order_id, "status": "failed"}
        assert (await http.get("/workflows", params=query)).json()["workflows"] == []
        assert await shop.data.sql("SELECT action, actor FROM operator_actions ORDER BY created_at") == [
            ("cancel", "local"),
            ("dismiss", "local"),
        ]
        for wrong, field in (({}, "body"), ({"status": "waiting"}, "body"), ({"search": "a b"}, "body.search")):
            answer = await http.post("/workflows/cancel", json=wrong)
            assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field)
