"""Signed links with which a person answers a step that waits: without a login, once, until the step's time is over.

A link names the wait by its random id, the answer, and when the link expires. It holds nothing personal.
"""

import hmac
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import get_args
from uuid import UUID

from commerce.errors import LinkInvalid
from commerce.messages.waits import AnswerKind

PATH = "/answers/"
PURPOSE = b"answer-link/1:"  # signed with each link, so that the key signs nothing else by accident
TOKEN = re.compile(rf"([0-9a-f]{{32}})\.({'|'.join(get_args(AnswerKind))})\.([0-9]{{1,12}})\.([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True)
class Link:
    """What a link says: the id of the wait, and the answer."""

    wait_id: str
    answer: AnswerKind

    @property
    def idempotency_key(self) -> str:
        """The idempotency key of its answer: opening a link twice is one answer."""
        return f"link/{self.wait_id}/{self.answer}"


class AnswerLinks:
    """Makes and reads links. `keys`: the first one signs, all of them are accepted; `url`: the root of the API."""

    def __init__(self, keys: Sequence[str], url: str) -> None:
        self._keys = [key.encode() for key in keys]
        self._url = url

    def make(self, wait_id: str, answer: AnswerKind, until: datetime) -> str:
        """Return the URL of a link that expires at `until`."""
        content = f"{UUID(wait_id).hex}.{answer}.{int(until.timestamp())}"
        return f"{self._url}{PATH}{content}.{_signature(self._keys[0], content)}"

    def read(self, token: str) -> Link:
        """Return what the last part of a link says. Raises LinkInvalid if we have not made it, or if it has expired."""
        found = TOKEN.fullmatch(token)
        if found is None:
            raise LinkInvalid
        wait_id, answer, expires, signature = found.groups()
        content = f"{wait_id}.{answer}.{expires}"
        # Compare with all keys, so that the duration reveals nothing.
        matches = sum(hmac.compare_digest(_signature(key, content), signature) for key in self._keys)
        if not matches or int(expires) < time.time():
            raise LinkInvalid
        kind: AnswerKind = next(each for each in get_args(AnswerKind) if each == answer)
        return Link(str(UUID(wait_id)), kind)


def _signature(key: bytes, content: str) -> str:
    return urlsafe_b64encode(hmac.digest(key, PURPOSE + content.encode(), sha256)).decode().rstrip("=")
