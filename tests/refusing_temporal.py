"""A Temporal that refuses every call, as with a wrong token, or answers none: the least of HTTP/2 that this needs."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6  # types of frames
ACK, END_OF_HEADERS, END = 1, 4, 5  # flags; 5: end of the stream and of the headers
STATUS_200 = b"\x88"  # an entry of HPACK's static table
EMPTY_MESSAGE = bytes(5)


@asynccontextmanager
async def refusing_temporal(code: int, message: str) -> AsyncIterator[str]:
    """Serve on a free port, and end every call with this status of gRPC; yields HOST:PORT."""
    status = {"grpc-status": str(code), "grpc-message": message}
    refusal = STATUS_200 + _fields({"content-type": "application/grpc"} | status)
    async with _answering(lambda _, stream: _frame(HEADERS, END, stream, refusal)) as address:
        yield address


@asynccontextmanager
async def silent_temporal() -> AsyncIterator[str]:
    """Serve on a free port, and answer no call but the first, in which a client connects; yields HOST:PORT."""

    def answer(number: int, stream: int) -> bytes:
        if number:
            return b""
        head = _frame(HEADERS, END_OF_HEADERS, stream, STATUS_200 + _fields({"content-type": "application/grpc"}))
        end = _frame(HEADERS, END, stream, _fields({"grpc-status": "0"}))
        return head + _frame(DATA, 0, stream, EMPTY_MESSAGE) + end

    async with _answering(answer) as address:
        yield address


@asynccontextmanager
async def _answering(answer: Callable[[int, int], bytes]) -> AsyncIterator[str]:
    """Serve on a free port; `answer` gets a call's number and stream, and returns frames."""
    numbers = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(PREFACE)
            writer.write(_frame(SETTINGS, 0, 0, b""))
            while True:
                head = await reader.readexactly(9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
                body = await reader.readexactly(int.from_bytes(head[:3]))
                if kind == HEADERS:
                    writer.write(answer(next(numbers), stream))
                elif kind in (SETTINGS, PING) and not flags & ACK:
                    writer.write(_frame(kind, ACK, 0, body if kind == PING else b""))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _fields(fields: dict[str, str]) -> bytes:
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def _text(value: str) -> bytes:
    return bytes((len(value),)) + value.encode()  # at most 126 bytes
