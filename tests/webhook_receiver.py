"""Somebody who receives webhooks, and checks their signatures with the library that receivers use."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook

from starter.devstack.serving import serving

LENGTH = 10_000_000  # bytes, of an answer that nobody should read


class WebhookReceiver:
    """Keeps what it is sent, by order of arrival; `answer` is the status it answers with."""

    def __init__(self) -> None:
        self.url = ""
        self.secret = ""
        self.answer = 204
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []  # also what was not taken
        self.took: list[dict[str, Any]] = []
        self.requests: list[tuple[bytes, dict[str, str]]] = []

    async def receive(self, request: Request) -> Response:
        body, headers = await request.body(), dict(request.headers)
        self.requests.append((body, headers))
        event = self.verified(body, headers) if self.secret else json.loads(body)
        self.asked.append(event)
        if self.answer < 300:
            self.took.append(event)
        content = b"" if self.answer == 204 else b"x" * LENGTH
        return Response(content, status_code=self.answer, headers=self.headers)

    def verified(self, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Return the event of a request; raises WebhookVerificationError."""
        event: dict[str, Any] = Webhook(self.secret).verify(body, headers)
        assert headers["webhook-id"] == event["id"]
        return event

    def numbers(self, subject: str) -> list[int]:
        """Return the numbers of the events about this subject that were taken, in order of arrival."""
        return [event["data"]["number"] for event in self.took if event["subject"] == subject]


@asynccontextmanager
async def webhook_receiver(port: int = 0, **options: Any) -> AsyncIterator[WebhookReceiver]:
    """Receive on the loopback interface while the block runs; `options` are uvicorn's."""
    receiver, app = WebhookReceiver(), FastAPI()
    app.post("/hook")(receiver.receive)
    async with serving(app, port, **options) as url:
        receiver.url = f"{url}/hook"
        yield receiver
