"""How the embedded carrier misbehaves when told to: faults, and cutting a connection without an answer."""

import asyncio
from typing import Any, ClassVar, Literal

from fastapi import Request
from pydantic import BaseModel, Field
from uvicorn.protocols.http.h11_impl import H11Protocol

Operation = Literal["create", "buy", "refund", "get"]


class Fault(BaseModel):
    """One way to misbehave at an operation, so many times (null: until removed).

    `500`: nothing done, HTTP 500. `422`: refused for good. `slow`: answers after so many seconds. `cut`: does the work,
    then cuts the connection without an answer.
    """

    operation: Operation
    fault: Literal["500", "422", "cut", "slow"]
    times: int | None = Field(None, ge=1)
    reference: str | None = Field(None, description="Only for shipments with this reference")
    order_id: str | None = Field(None, description="Only for shipments with this invoice number")
    seconds: float = Field(15, ge=0, le=600, description="How long `slow` takes")

    def fits(self, operation: Operation, shipment: dict[str, Any]) -> bool:
        """Tell whether this fault is for this operation on this shipment."""
        return (
            self.operation == operation
            and self.times != 0
            and self.reference in (None, shipment["reference"])
            and self.order_id in (None, shipment["options"].get("invoice_number"))
        )


class Faults:
    """The faults that are set; they are forgotten when the carrier is restarted."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def take(self, operation: Operation, shipment: dict[str, Any]) -> Fault | None:
        """Return the first fault that fits, used up by one time."""
        fault = next((fault for fault in self.all if fault.fits(operation, shipment)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault


class CuttableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which also lets a request's connection be cut."""

    transports: ClassVar[dict[tuple[str, int], asyncio.Transport]] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Remember the connection by its client's address."""
        super().connection_made(transport)
        self.transports[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.transports.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


async def cut(request: Request) -> None:
    """Cut the connection of a request; without a real connection (in tests) this raises."""
    client = request.client
    transport = CuttableProtocol.transports.get((client.host, client.port)) if client else None
    if transport is None:
        raise ConnectionAbortedError("cut")
    transport.abort()
    await asyncio.sleep(0)  # lets uvicorn learn that nobody listens any more
