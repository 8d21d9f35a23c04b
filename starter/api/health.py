"""Whether the shop can work: its database, Temporal, and a worker that polls, each asked within a bound."""

import asyncio
import logging
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from temporalio.service import RPCError

from commerce.errors import DatabaseUnavailable, Unreachable
from starter.api.backends import Backends
from starter.api.errors import Problem, answer, documented, example
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE

CHECK_SECONDS = 2.0
SILENT = "does not answer"

READY = {
    200: example({"status": "ready"}, "Database, Temporal and a worker are there"),
    **documented(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Something is missing",
        error="Not ready",
        details="worker: none polls the task queue commerce",
    ),
}

log = logging.getLogger(__name__)
routes = APIRouter(prefix="/health", tags=["health"])


class Health:
    """What readiness is made of."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    async def missing(self) -> list[str]:
        """Return what is not there, each as `name: reason`; empty when all is well."""
        reasons = await asyncio.gather(self._ask_database(), self._ask_temporal())
        return [reason for reason in reasons if reason]

    async def _ask_database(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._backends.database.ping()
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("the database does not answer: %r", error)
            return f"database: {SILENT}"
        return None

    async def _ask_temporal(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                at_work = await is_worker_polling(await self._backends.client(), TASK_QUEUE)
        except (Unreachable, RPCError, TimeoutError) as error:
            log.warning("Temporal does not answer: %r", error)
            return f"temporal: {SILENT}"
        return None if at_work else f"worker: none polls the task queue {TASK_QUEUE}"


@routes.get("/live", responses={200: example({"status": "live"}, "It answers")})
async def live() -> dict[str, str]:
    """Say that this process answers."""
    return {"status": "live"}


@routes.get("/ready", response_model=dict[str, str], responses=READY)
async def ready(request: Request) -> JSONResponse:
    """Say whether orders can be processed now; 503 names what is missing."""
    health: Health = request.app.state.health
    if missing := await health.missing():
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, Problem(error="Not ready", details="; ".join(missing)))
    return JSONResponse({"status": "ready"})
