"""`GET /workflow`: greetings by a real worker, invalid names, failures, and Temporal unreachable."""

import httpx
import pytest
from temporalio.client import Client

from starter.api import tutorial
from tests.conftest import free_port
from tests.faults import Faults
from tests.running_shop import RunningShop
from tests.starter.api.api_client import create_api, in_process_client


@pytest.mark.parametrize(
    ("query", "name"), [("", "John"), ("?name=Ann", "Ann"), ("?name=Zo%C3%AB+%F0%9F%91%8B", "Zoë 👋")]
)
async def test_it_greets(shop: RunningShop, http: httpx.AsyncClient, query: str, name: str) -> None:
    async with shop.worker():
        response = await http.get(f"/workflow{query}", timeout=60)
    assert (response.status_code, response.json()) == (200, {"message": f"Hello {name} from step two!"})


@pytest.mark.parametrize("name", ["", "secret" * 17])
async def test_an_invalid_name_is_refused_and_not_repeated(http: httpx.AsyncClient, name: str) -> None:
    response = await http.get("/workflow", params={"name": name})
    assert response.status_code == 422
    assert [field["field"] for field in response.json()["fields"]] == ["query.name"]
    assert "secret" not in response.text


async def test_a_failed_run_is_named(shop: RunningShop, http: httpx.AsyncClient) -> None:
    async with shop.worker([Faults({"step-2": "before"})]):
        response = await http.get("/workflow", timeout=60)
    body = response.json()
    assert (response.status_code, body["error"]) == (500, "Workflow execution failed")
    assert body["code"] == "ProcessFailed"
    assert body["details"] == "Refused: step-2 is refused by the test"
    assert body["transaction_id"].startswith("hello-world-")


async def test_waiting_for_a_worker_has_a_limit(
    http: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tutorial, "WAIT", 0.1)
    response = await http.get("/workflow", timeout=60)
    assert (response.status_code, response.json()["code"]) == (503, "Unreachable")
    assert response.json()["error"].split()[1:4] == ["has", "not", "ended"]
    await client.get_workflow_handle(response.json()["error"].split()[0]).terminate()


async def test_it_reports_that_temporal_is_unreachable(shop: RunningShop) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with in_process_client(create_api(shop, TEMPORAL_ADDRESS=address)) as http:
        response = await http.get("/workflow", timeout=60)
    unreachable = {"error": f"Temporal does not answer at {address}.", "code": "Unreachable"}
    assert (response.status_code, response.json()) == (503, unreachable)


async def test_its_documentation_describes_parameters_and_responses(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    route = document["paths"]["/workflow"]["get"]
    [schema] = [parameter["schema"] for parameter in route["parameters"]]
    assert (schema["type"], schema["minLength"], schema["maxLength"], schema["default"]) == ("string", 1, 100, "John")
    assert {"200", "422", "500", "503"} <= set(route["responses"])
