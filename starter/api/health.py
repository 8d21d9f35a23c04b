"""Liveness and readiness: checks the database, Temporal and the worker, each within a time limit."""

import asyncio
import logging
import time
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from temporalio.service import RPCError

from commerce import database_status
from commerce.errors import DatabaseUnavailable, Unreachable
from starter.api.backends import Backends
from starter.api.error_codes import ErrorCode
from starter.api.errors import Problem, error_examples, error_response, json_example
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE

CHECK_SECONDS = 2.0
DISK_CHECK_INTERVAL = 5.0  # seconds
NO_ANSWER = "does not answer"
DISK_IS_FULL = "its disk is full"
NOT_READY = "Not ready"

READY = {
    200: json_example({"status": "ready"}, "The database, Temporal and a worker are available"),
    **error_examples(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "At least one of them is unavailable",
        Problem(error=NOT_READY, code=ErrorCode.NotReady, details="worker: none polls the task queue commerce"),
    ),
}

log = logging.getLogger(__name__)
routes = APIRouter(prefix="/health", tags=["health"])


class Health:
    """The readiness check."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._disk_checked_at = -DISK_CHECK_INTERVAL

    async def problems(self) -> list[str]:
        """Return what is unavailable, each as `name: reason`; an empty list means ready."""
        reasons = await asyncio.gather(self._check_database(), self._check_temporal())
        return [reason for reason in reasons if reason]

    async def _check_database(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._backends.database.ping()
                await self._check_disk()
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("The database is not ready: %r", error)
            return f"database: {DISK_IS_FULL if database_status.DISK_FULL in str(error) else NO_ANSWER}"
        return None

    async def _check_disk(self) -> None:
        """Check that the database can write, but not for every request: this route is open to all."""
        if time.monotonic() - self._disk_checked_at < DISK_CHECK_INTERVAL:
            return
        async with self._backends.database.transaction() as tx:
            await database_status.write_temporary_file(tx)
        self._disk_checked_at = time.monotonic()

    async def _check_temporal(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                has_worker = await is_worker_polling(await self._backends.client(), TASK_QUEUE)
        except (Unreachable, RPCError, TimeoutError) as error:
            log.warning("Temporal does not answer: %r", error)
            return f"temporal: {NO_ANSWER}"
        return None if has_worker else f"worker: none polls the task queue {TASK_QUEUE}"


@routes.get(
    "/live", summary="Liveness", responses={200: json_example({"status": "live"}, "The API process is running")}
)
async def get_liveness() -> dict[str, str]:
    """Respond while this process is running."""
    return {"status": "live"}


@routes.get("/ready", summary="Readiness", response_model=dict[str, str], responses=READY)
async def get_readiness(request: Request) -> JSONResponse:
    """Check whether orders can be processed now: database and its disk, Temporal, and a polling worker.

    503 names the problems.
    """
    health: Health = request.app.state.health
    if problems := await health.problems():
        problem = Problem(error=NOT_READY, code=ErrorCode.NotReady, details="; ".join(problems))
        return error_response(HTTPStatus.SERVICE_UNAVAILABLE, problem)
    return JSONResponse({"status": "ready"})
