"""A receiver of webhooks that verifies signatures with the library that receivers use."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook

from starter.devstack.serving import serving

LENGTH = 10_000_000  # bytes of a response body, which the sender should not read


class WebhookReceiver:
    """Stores events in order of arrival, and responds with `status` and `headers`."""

    def __init__(self) -> None:
        self.url = ""
        self.secret = ""
        self.status = 204
        self.headers: dict[str, str] = {}
        self.received: list[dict[str, Any]] = []  # events, whatever it responded
        self.accepted: list[dict[str, Any]] = []
        self.requests: list[tuple[bytes, dict[str, str]]] = []

    async def receive(self, request: Request) -> Response:
        body, headers = await request.body(), dict(request.headers)
        self.requests.append((body, headers))
        event = self.verify(body, headers) if self.secret else json.loads(body)
        self.received.append(event)
        if self.status < 300:
            self.accepted.append(event)
        content = b"" if self.status == 204 else b"x" * LENGTH
        return Response(content, status_code=self.status, headers=self.headers)

    def verify(self, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Return the event of a request. Raises WebhookVerificationError."""
        event: dict[str, Any] = Webhook(self.secret).verify(body, headers)
        assert headers["webhook-id"] == event["id"]
        return event

    def numbers(self, subject: str) -> list[int]:
        """Return the numbers of the accepted events about this subject, in order of arrival."""
        return [event["data"]["number"] for event in self.accepted if event["subject"] == subject]


@asynccontextmanager
async def webhook_receiver(port: int = 0, **options: Any) -> AsyncIterator[WebhookReceiver]:
    """Run a receiver on the loopback interface while the block runs. `options` go to uvicorn."""
    receiver, app = WebhookReceiver(), FastAPI()
    app.post("/hook")(receiver.receive)
    async with serving(app, port, **options) as url:
        receiver.url = f"{url}/hook"
        yield receiver
