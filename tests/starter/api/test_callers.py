"""Roles: every route states the least one, and a caller without it gets nothing done and nothing to see."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi.params import Security
from fastapi.routing import APIRoute, iter_route_contexts
from temporalio.client import Client

from commerce.api_tokens import RESERVED_NAMES, Role
from commerce.errors import SettingsError
from commerce.settings import load_settings
from starter.api.app import create_app
from starter.api.tokens import is_public
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client, offline_client

SECRET = "0123456789abcdef"
TOKENS = ",".join(f"{role}-ann:{role}:{role}-{SECRET}" for role in Role)
FRAMEWORK = ("/docs/oauth2-redirect",)  # does nothing
PLACEHOLDERS = {"answer": "success", "namespace": "default"}


def bearer(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}-{SECRET}"}


def all_routes() -> list[tuple[str, str, list[str]]]:
    """Return method, path and required roles of every route, also of those that OpenAPI leaves out."""
    app = create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV)
    return [
        (method, path, [role for d in route.dependencies if isinstance(d, Security) for role in d.scopes])
        for path, route in ((found.path, found.original_route) for found in iter_route_contexts(app.routes))
        if isinstance(route, APIRoute) and not is_public(path) and path not in FRAMEWORK
        for method in sorted(route.methods)
    ]


ROUTES = all_routes()


def path_of(pattern: str) -> str:
    """Return a path that matches a route's pattern."""
    parts = (part.strip("{}").removesuffix(":path") if "{" in part else part for part in pattern.split("/"))
    return "/".join(PLACEHOLDERS.get(part, part) for part in parts)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with offline_client(COMMERCE_API_TOKENS=TOKENS) as client:
        yield client


@pytest.fixture
async def shop_and_http(
    tmp_path: Path, database_url: str, client: Client
) -> AsyncIterator[tuple[RunningShop, httpx.AsyncClient]]:
    async with (
        running_shop(tmp_path, database_url, client) as shop,
        in_process_client(create_api(shop, COMMERCE_API_TOKENS=TOKENS)) as http,
    ):
        yield shop, http


def test_h1_every_route_states_one_role() -> None:
    assert [f"{method} {path}" for method, path, roles in ROUTES if len(roles) != 1] == []


def test_a_viewer_can_only_read() -> None:
    assert {method for method, _, roles in ROUTES if roles == [Role.viewer]} == {"GET"}


async def test_less_than_the_least_role_is_refused_on_every_route(http: httpx.AsyncClient) -> None:
    tried = 0
    for method, path, [least] in ROUTES:
        for role in Role:
            if not role.includes(Role(least)):
                response = await http.request(method, path_of(path), headers=bearer(role))
                assert (response.status_code, response.json()) == (
                    403,
                    {
                        "error": f"This requires the role {least}; {role}-ann has the role {role}",
                        "code": "RoleRequired",
                    },
                ), f"{method} {path}"
                tried += 1
    assert tried > 15


async def test_only_admins_may_forget_and_force(http: httpx.AsyncClient) -> None:
    forget = {"workflow_id": "forget-customer", "input": {"email": "ann@customer.example"}}
    force = {"workflow_id": "cancel-order", "input": {"order_id": "1001", "force": True}}
    for path, body in [
        ("/workflows/execute", forget),
        ("/workflows/execute", force),
        ("/customers/forget", {"email": "ann@customer.example"}),
        ("/orders/1001/cancel", {"force": True}),
    ]:
        response = await http.post(path, json=body, headers=bearer(Role.operator))
        assert (response.status_code, response.json()["code"]) == (403, "RoleRequired")


async def test_h2_personal_data_is_masked_for_viewers(shop_and_http: tuple[RunningShop, httpx.AsyncClient]) -> None:
    shop, http = shop_and_http
    columns = {"shipping_name": "Ann Lee", "shipping_address1": "1 High St", "note": "call 555", "shipping_zip": "N1"}
    await shop.data.order("mask1", columns=columns | {"billing_name": "Bob Lee", "tags": "vip", "phone": "555"})
    await http.patch("/orders/mask1", json={"reason": "Ann Lee called", "hold": True}, headers=bearer(Role.operator))
    clear = (await http.get("/orders/mask1", headers=bearer(Role.operator))).text
    masked = (await http.get("/orders/mask1", headers=bearer(Role.viewer))).text
    for personal in ("Ann Lee", "1 High St", "call 555", "N1", "Bob", "vip", "ann@customer.example"):
        assert personal in clear and personal not in masked, personal
    assert '"customer":"A… L…"' in masked and '"email":"a…@customer.example"' in masked


async def test_h3_the_record_of_actions_has_the_callers_name(
    shop_and_http: tuple[RunningShop, httpx.AsyncClient],
) -> None:
    shop, http = shop_and_http
    await shop.data.order("named1")
    await http.patch("/orders/named1", json={"reason": "wait", "hold": True}, headers=bearer(Role.operator))
    assert await shop.data.sql("SELECT actor FROM operator_actions") == ["operator-ann"]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (f"ann:{SECRET}", "each must be SECRET or NAME:ROLE:SECRET, and no part may contain a colon"),
        (f"ann:operator:{SECRET}:x", "each must be SECRET or NAME:ROLE:SECRET, and no part may contain a colon"),
        (f"ann:operater:{SECRET}", "each role must be one of viewer, operator, admin"),
        ("ann:operator:short", "each must have at least 16 characters"),
        (f":operator:{SECRET}", "each name must have"),
        (f"ann lee:operator:{SECRET}", "each name must have"),
        *((f"{name}:viewer:{SECRET}", "each name must have") for name in sorted(RESERVED_NAMES)),
        (f"ann:viewer:{SECRET},bob:admin:{SECRET}", "two have the same secret"),
        (f"ann:viewer:{SECRET}\n{SECRET}", "two have the same secret"),
    ],
)
def test_an_unclear_token_is_refused_and_not_shown(tokens: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({"COMMERCE_API_TOKENS": tokens})
    assert f"COMMERCE_API_TOKENS: {message}" in str(error.value)
    assert SECRET not in str(error.value) and "short" not in str(error.value)
