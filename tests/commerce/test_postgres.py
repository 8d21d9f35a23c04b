"""Connections to PostgreSQL."""

import asyncio
import gc
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from commerce.postgres import connect
from tests.certificates import create_certificate

STEPS = 40  # of the event loop: enough for a connection on this machine to be open
SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def test_a_cancelled_connect_leaves_no_connection_and_no_error(database_url: str) -> None:
    gc.collect()  # what earlier tests left
    loop, errors = asyncio.get_running_loop(), list[Mapping[str, Any]]()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        for steps in range(STEPS):
            connecting = asyncio.create_task(connect(database_url))
            for _ in range(steps):
                await asyncio.sleep(0)
            connecting.cancel()
            with suppress(asyncio.CancelledError):
                await (await connecting).close()  # it was faster
        observer = await asyncpg.connect(database_url)
        async with asyncio.timeout(30):
            while await observer.fetchval(OTHERS):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)
        await observer.close()
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert errors == []


async def connect_over_tls(folder: Path, name: str, sslmode: str, roots: Path | None = None) -> bytes:
    """Connect to a server with a certificate for `name` that speaks PostgreSQL up to TLS; return what follows."""
    certificate, key = create_certificate(folder, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    received = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readexactly(8)
            assert request == SSL_REQUEST
            writer.write(b"S")
            await writer.start_tls(context)
            received.set_result(await reader.readexactly(8))
        except (OSError, asyncio.IncompleteReadError):
            received.set_result(b"")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"postgresql://commerce@localhost:{port}/commerce?sslmode={sslmode}&sslrootcert={roots or certificate}"
    try:
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)) as refused:
            await connect(url)
        if sslmode != "require" and isinstance(refused.value, ssl.SSLError):
            return b""
        return bytes(await received)
    finally:
        server.close()


async def test_verify_full_sends_nothing_to_a_server_without_a_valid_certificate(tmp_path: Path) -> None:
    """`require` encrypts, but to whoever answers."""
    other = tmp_path / "other"
    other.mkdir()
    roots, _ = create_certificate(other, "localhost")
    assert await connect_over_tls(tmp_path, "localhost", "verify-full") != b""
    assert await connect_over_tls(tmp_path, "localhost", "verify-full", roots) == b""
    assert await connect_over_tls(tmp_path, "elsewhere.example", "verify-full") == b""
    assert await connect_over_tls(tmp_path, "elsewhere.example", "require") != b""
