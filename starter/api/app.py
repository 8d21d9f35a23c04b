"""The HTTP application, put together from its settings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from commerce.database import Database
from commerce.settings import Settings
from starter.api import errors, health


def create_app(settings: Settings, environment: Mapping[str, str]) -> FastAPI:
    """Return the app; it connects to nothing yet, so it also answers while database or Temporal are away.

    `environment` is what `load_environment` returned: Temporal's own variables are read from it.
    """
    database = Database(settings.database_url.get_secret_value())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await database.close()

    app = FastAPI(title="durable-commerce", lifespan=lifespan)
    app.state.health = health.Health(database, environment)
    app.include_router(health.routes)
    errors.install(app)
    return app
