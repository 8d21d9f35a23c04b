"""`GET /workflow` against a real worker: whom it greets, what it refuses, and what it says while Temporal is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from commerce.settings import load_settings
from starter.api import tutorial
from starter.api.app import create_app
from tests.conftest import free_port
from tests.faults import Faults
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop


@pytest.fixture
async def place(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        yield made


@asynccontextmanager
async def api(temporal_address: str) -> AsyncIterator[httpx.AsyncClient]:
    environment = {"TEMPORAL_ADDRESS": temporal_address, **ENCRYPTION_ENV}
    app = create_app(load_settings(environment), environment)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http


@pytest.fixture
async def http(temporal_server: str) -> AsyncIterator[httpx.AsyncClient]:
    async with api(temporal_server) as made:
        yield made


@pytest.mark.parametrize(
    ("query", "name"), [("", "John"), ("?name=Ann", "Ann"), ("?name=Zo%C3%AB+%F0%9F%91%8B", "Zoë 👋")]
)
async def test_it_greets(place: RunningShop, http: httpx.AsyncClient, query: str, name: str) -> None:
    async with place.worker():
        answer = await http.get(f"/workflow{query}", timeout=60)
    assert (answer.status_code, answer.json()) == (200, {"message": f"Hello {name} from step two!"})


@pytest.mark.parametrize("name", ["", "secret" * 17])
async def test_a_name_that_does_not_fit_is_refused_without_being_repeated(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.get("/workflow", params={"name": name})
    assert answer.status_code == 422
    assert [field["field"] for field in answer.json()["fields"]] == ["query.name"]
    assert "secret" not in answer.text


async def test_a_run_that_fails_is_named(place: RunningShop, http: httpx.AsyncClient) -> None:
    async with place.worker([Faults({"step-2": "before"})]):
        answer = await http.get("/workflow", timeout=60)
    told = answer.json()
    assert (answer.status_code, told["error"]) == (500, "Workflow execution failed")
    assert told["details"] == "Refused: step-2 is refused by the test"
    assert told["transaction_id"].startswith("hello-world-")


async def test_it_does_not_wait_for_ever_for_a_worker(
    http: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tutorial, "WAIT", 0.1)
    answer = await http.get("/workflow", timeout=60)
    assert (answer.status_code, answer.json()["error"].split()[1:4]) == (503, ["has", "not", "ended"])
    await client.get_workflow_handle(answer.json()["error"].split()[0]).terminate()


async def test_it_says_that_temporal_is_away() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async with api(nowhere) as http:
        answer = await http.get("/workflow", timeout=60)
    assert (answer.status_code, answer.json()) == (503, {"error": f"Temporal does not answer at {nowhere}."})


async def test_its_documentation_says_what_it_takes_and_answers(http: httpx.AsyncClient) -> None:
    documents = (await http.get("/openapi.json")).json()
    route = documents["paths"]["/workflow"]["get"]
    [schema] = [parameter["schema"] for parameter in route["parameters"]]
    assert (schema["type"], schema["minLength"], schema["maxLength"], schema["default"]) == ("string", 1, 100, "John")
    assert {"200", "422", "500", "503"} <= set(route["responses"])
