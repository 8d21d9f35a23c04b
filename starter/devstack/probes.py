"""Readiness probes for the servers of a stack: None when ready, else the reason why not."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from temporalio.client import Client
from temporalio.service import RPCError

from starter.devstack import roles, temporal
from starter.devstack.errors import StackError
from starter.devstack.plan import Plan
from starter.devstack.ports import LOOPBACK

Probe = Callable[[], Awaitable[str | None]]
ANSWER_SECONDS = 5.0
NOT_YET = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError)


async def postgres_is_ready(plan: Plan) -> str | None:
    """Check that PostgreSQL answers; create our roles and database if they are missing."""
    try:
        await roles.set_up(plan.data_dir, plan.ports["postgres"])
    except NOT_YET as error:
        return _reason(error)
    except asyncpg.PostgresError as error:
        raise StackError(f"PostgreSQL in {plan.data_dir} refuses the connection: {error}") from error
    return None


async def temporal_is_ready(plan: Plan) -> str | None:
    """Check that Temporal answers; configure its namespace."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await temporal.prepare(await Client.connect(plan.temporal_address, namespace=temporal.NAMESPACE))
    except (RuntimeError, RPCError, TimeoutError) as error:  # RuntimeError: the client cannot connect
        return _reason(error)
    return None


async def port_is_open(port: int) -> str | None:
    """Check that a server accepts connections on this port."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError) as error:
        return _reason(error)
    writer.close()
    return None


async def http_is_ok(port: int, path: str) -> str | None:
    """Check that an HTTP server answers 200. Plain sockets, because an HTTP library would take longer to import."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
            answer = (await reader.read()).decode(errors="replace")
    except (OSError, TimeoutError) as error:
        return _reason(error)
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return None if " 200 " in head.partition("\r\n")[0] else f"{path} answered {body.strip() or head}"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
