"""Whether the servers of a stack are ready: each probe returns nothing when ready, else the reason why not."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from temporalio.client import Client
from temporalio.service import RPCError

from starter.devstack import postgres, temporal
from starter.devstack.data_folder import StackError
from starter.devstack.plan import Plan
from starter.devstack.ports import LOOPBACK

Probe = Callable[[], Awaitable[str | None]]
ANSWER_SECONDS = 5.0
NOT_YET = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError)


async def database(plan: Plan) -> str | None:
    """PostgreSQL answers and has our database, made if it is missing."""
    try:
        server = await asyncpg.connect(plan.database_url("postgres"), timeout=ANSWER_SECONDS)
        try:
            if not await server.fetchval("SELECT true FROM pg_database WHERE datname = $1", postgres.DATABASE):
                await server.execute(f'CREATE DATABASE "{postgres.DATABASE}"')
        finally:
            await server.close()
    except NOT_YET as error:
        return _reason(error)
    except asyncpg.PostgresError as error:
        raise StackError(f"PostgreSQL in {plan.data_dir} refuses us: {error}") from error
    return None


async def workflows(plan: Plan) -> str | None:
    """Temporal answers, its namespace as we need it."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await temporal.prepare(await Client.connect(plan.temporal_address, namespace=temporal.NAMESPACE))
    except (RuntimeError, RPCError, TimeoutError) as error:  # RuntimeError: how the client says "cannot connect"
        return _reason(error)
    return None


async def listens(port: int) -> str | None:
    """Somebody takes connections on this port."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError) as error:
        return _reason(error)
    writer.close()
    return None


async def answers(port: int, path: str) -> str | None:
    """An HTTP server answers with 200; plain sockets, as a client library takes longer to load than to ask."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
            answer = (await reader.read()).decode(errors="replace")
    except (OSError, TimeoutError) as error:
        return _reason(error)
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return None if " 200 " in head.partition("\r\n")[0] else f"{path} answers {body.strip() or head}"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
