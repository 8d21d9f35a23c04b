"""A connection to a server that can be cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

BLOCK = 65_536  # bytes


class Wire:
    """Passes the connections of clients on to a server. While it is cut, it aborts all of them, also new ones.

    A request may then have reached the server although its answer is lost.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def cut(self, seconds: float) -> None:
        """Cut all connections, and mend the wire after some seconds. Cuts can overlap."""
        self._cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(seconds)
        self._cuts -= 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on until either side ends it."""
        if self._cuts:
            writer.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._server)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_server}
        self._writers |= ends
        if self._cuts:  # since it was asked for
            writer.transport.abort()
        passing = [asyncio.create_task(_pass(reader, to_server)), asyncio.create_task(_pass(from_server, writer))]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()
            await asyncio.wait(passing)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[tuple[Wire, str]]:
    """Yield a wire to the server of a URL, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    wire = Wire(parts.hostname, parts.port)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    try:
        yield wire, urlunsplit(parts._replace(netloc=f"{credentials}127.0.0.1:{port}"))
    finally:
        server.close()
        for writer in list(wire._writers):
            writer.transport.abort()
