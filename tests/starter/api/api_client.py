"""Clients of the API of a running shop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI

from commerce.settings import load_settings
from starter.api.app import create_app
from starter.devstack.serving import serving
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop


def shop_environment(shop: RunningShop) -> dict[str, str]:
    """Return the environment variables of a program that uses this shop."""
    return {
        "COMMERCE_DATABASE_URL": shop.settings.database_url.get_secret_value(),
        "TEMPORAL_ADDRESS": shop.client.service_client.config.target_host,
        **ENCRYPTION_ENV,
    }


def create_api(shop: RunningShop, **variables: str) -> FastAPI:
    environment = shop_environment(shop) | variables
    return create_app(load_settings(environment), environment)


@cache
def openapi_document() -> dict[str, Any]:
    """Return the API's OpenAPI document, which no test may change. To make it takes most of a second."""
    return create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV).openapi()


@asynccontextmanager
async def in_process_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Call an app without a server; its exceptions become responses."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http,
    ):
        yield http


@asynccontextmanager
async def offline_client(**variables: str) -> AsyncIterator[httpx.AsyncClient]:
    """Call an app with these variables and the tests' key, for routes that need neither the database nor Temporal."""
    environment = ENCRYPTION_ENV | variables
    transport = httpx.ASGITransport(create_app(load_settings(environment), environment))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


@asynccontextmanager
async def network_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Call an app over a real connection, which a test can interrupt."""
    async with serving(app, 0) as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        yield http
