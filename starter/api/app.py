"""The HTTP application, put together from its settings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from commerce.database import Database
from commerce.settings import Settings
from starter.api import codec, errors, health
from starter.api.limits import BodyLimit
from starter.api.tokens import Tokens


def create_app(settings: Settings, environment: Mapping[str, str]) -> FastAPI:
    """Return the app; it connects to nothing yet, so it also answers while database or Temporal are away.

    `environment` is what `load_environment` returned: Temporal's own variables are read from it. Raises SettingsError.
    """
    payloads = codec.Codec(settings, environment)
    database = Database(settings.database_url.get_secret_value())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await database.close()

    app = FastAPI(title="durable-commerce", lifespan=lifespan)
    app.state.health = health.Health(database, environment)
    app.state.codec = payloads
    app.include_router(health.routes)
    app.include_router(codec.routes)
    errors.install(app)
    # The last one is the first to see a request: a browser asks what it may send before it sends a token.
    app.add_middleware(BodyLimit)
    app.add_middleware(Tokens, tokens=settings.api_tokens)
    app.add_middleware(codec.CodecCors, ui_url=settings.temporal_ui_url)
    return app
