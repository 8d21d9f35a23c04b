"""Sign-in to the console: a cookie that stands for a token of the settings, stateless, signed and expiring (H4).

The key that signs a session is derived from its token. A session is therefore void as soon as its token leaves the
settings, and there is no other secret to keep. Without tokens the API listens on this machine only, and everybody has a
session.
"""

import hmac
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from commerce.api_tokens import parse_token
from commerce.settings import Settings
from starter.api.callers import LOCAL, Caller

HOURS = 12  # until one has to sign in again
PATH = "/console"
NOBODY = "-"  # in place of the id of a token
SESSION_PURPOSE, FORM_PURPOSE, ID_PURPOSE = b"console-session/1:", b"console-form/1:", b"console-token-id/1:"
COOKIE = re.compile(r"([0-9a-f]{32}|-)\.([0-9]{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Session:
    """A browser's session. Without a `caller` it is not signed in. `form_key`: what each form must send back."""

    cookie: str
    caller: Caller | None
    form_key: str


class Sessions:
    """Makes and reads the cookies of sessions."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._now = now
        tokens = [parse_token(entry.get_secret_value()) for entry in settings.api_tokens]
        self._tokens = {_token_id(token.secret): token for token in tokens}
        # Signs the sessions of those who are not signed in. They give access to nothing that others do not have.
        secret = settings.database_url.get_secret_value() + settings.encryption_keys.get_secret_value()
        self._nobodys_key = hmac.digest(secret.encode(), SESSION_PURPOSE, sha256)
        self.cookie_name = f"commerce-console-{settings.api_port}"  # cookies of a host are the same for all its ports

    def sign_in(self, token: str) -> Session | None:
        """Return a new session for this token, or None if it is not a token of the settings."""
        who = _token_id(token)  # a digest, so that the duration of the search reveals nothing
        return self._new(who) if who in self._tokens else None

    def start(self) -> Session:
        """Return a new session that is not signed in, unless nobody has to."""
        return self._new(NOBODY)

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie, or None if we have not made it, if it has expired, or its token is gone."""
        found = COOKIE.fullmatch(cookie)
        if found is None:
            return None
        who, expires, nonce, signature = found.groups()
        key = self._key(who)
        if key is None or not hmac.compare_digest(_sign(key, SESSION_PURPOSE, f"{who}.{expires}.{nonce}"), signature):
            return None
        if int(expires) <= self._now():
            return None
        return self._session(who, cookie, key)

    def _new(self, who: str) -> Session:
        content = f"{who}.{int(self._now()) + HOURS * 3600}.{secrets.token_urlsafe(16)}"
        key = self._key(who)
        assert key is not None
        return self._session(who, f"{content}.{_sign(key, SESSION_PURPOSE, content)}", key)

    def _session(self, who: str, cookie: str, key: bytes) -> Session:
        if who == NOBODY:
            caller = None if self._tokens else LOCAL
        else:
            caller = Caller(self._tokens[who].name, self._tokens[who].role)
        return Session(cookie, caller, _sign(key, FORM_PURPOSE, cookie))

    def _key(self, who: str) -> bytes | None:
        if who == NOBODY:
            return self._nobodys_key
        token = self._tokens.get(who)
        return hmac.digest(token.secret.encode(), SESSION_PURPOSE, sha256) if token else None


def _token_id(token: str) -> str:
    return sha256(ID_PURPOSE + token.encode()).hexdigest()[:32]


def _sign(key: bytes, purpose: bytes, content: str) -> str:
    return urlsafe_b64encode(hmac.digest(key, purpose + content.encode(), sha256)).decode().rstrip("=")
