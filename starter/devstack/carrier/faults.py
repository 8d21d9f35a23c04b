"""Faults of the embedded carrier, and how to cut a connection without a response."""

import asyncio
from typing import Any, ClassVar, Literal

from fastapi import Request
from pydantic import BaseModel, Field
from uvicorn.protocols.http.h11_impl import H11Protocol

Operation = Literal["create", "buy", "refund", "get"]


class Fault(BaseModel):
    """A fault to inject into an operation, `times` times (null: until it is removed).

    A status: does nothing and responds with it; `422` refuses permanently. `slow`: responds after `seconds`. `cut`:
    carries out the operation, then cuts the connection without a response.
    """

    operation: Operation
    fault: Literal["401", "402", "403", "409", "422", "423", "429", "500", "503", "cut", "slow"]
    times: int | None = Field(None, ge=1)
    reference: str | None = Field(None, description="Only for shipments with this reference")
    order_id: str | None = Field(None, description="Only for shipments with this invoice number")
    seconds: float = Field(15, ge=0, le=600, description="How long `slow` takes")

    def applies_to(self, operation: Operation, shipment: dict[str, Any]) -> bool:
        """Return whether to inject this fault into an operation on this shipment."""
        return (
            self.operation == operation
            and self.times != 0
            and self.reference in (None, shipment["reference"])
            and self.order_id in (None, shipment["options"].get("invoice_number"))
        )


class Faults:
    """The faults to inject, in memory only."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def take(self, operation: Operation, shipment: dict[str, Any]) -> Fault | None:
        """Return the first fault that applies, and count it down."""
        fault = next((fault for fault in self.all if fault.applies_to(operation, shipment)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault


class CuttableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, extended so that the connection of a request can be cut."""

    transports: ClassVar[dict[tuple[str, int], asyncio.Transport]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Add the connection under the address of its client."""
        super().connection_made(transport)
        self.transports[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self.transports.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


async def cut(request: Request) -> None:
    """Cut the connection of a request. Without a real connection, as in tests, raise ConnectionAbortedError."""
    client = request.client
    transport = CuttableProtocol.transports.get((client.host, client.port)) if client else None
    if transport is None:
        raise ConnectionAbortedError("cut")
    transport.abort()
    await asyncio.sleep(0)  # lets uvicorn notice that the client is gone
