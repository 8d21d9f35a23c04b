"""Sessions of the console: who gets one, how long it lasts, and what cannot pass for one (H4)."""

import pytest

from commerce.api_tokens import Role
from commerce.settings import Settings, load_settings
from starter.console.sessions import HOURS, Sessions

TOKEN, OTHER = "a-token-of-the-shop", "another-token-of-the-shop"
NOW = 1_800_000_000


def settings(*tokens: str, **more: str) -> Settings:
    return load_settings({"COMMERCE_API_TOKENS": ",".join(tokens), **more})


def sign_in(sessions: Sessions, token: str = TOKEN) -> str:
    session = sessions.sign_in(token)
    assert session is not None
    return session.cookie


def test_a_session_lasts_twelve_hours() -> None:
    cookie = sign_in(Sessions(settings(TOKEN), lambda: NOW))
    almost, over = (Sessions(settings(TOKEN), lambda later=later: NOW + HOURS * 3600 + later) for later in (-1, 0))
    assert almost.read(cookie) is not None
    assert over.read(cookie) is None


def test_a_session_ends_when_its_token_leaves_the_settings() -> None:  # (H4)
    cookie = sign_in(Sessions(settings(TOKEN, OTHER)))
    assert Sessions(settings(TOKEN)).read(cookie) is not None
    assert Sessions(settings(OTHER)).read(cookie) is None


def test_only_a_token_of_the_settings_signs_in() -> None:
    for wrong in ("", "-", TOKEN[:-1], f"{TOKEN},{OTHER}", f"{TOKEN} "):
        assert Sessions(settings(TOKEN)).sign_in(wrong) is None


def test_a_cookie_that_was_changed_is_no_session() -> None:
    sessions = Sessions(settings(TOKEN, OTHER))
    cookie = sign_in(sessions)
    who, expires, nonce, signature = cookie.split(".")
    other = sign_in(sessions, OTHER).split(".")
    forged = [
        "",
        "-",
        f"-.{expires}.{nonce}.{signature}",
        f"{other[0]}.{expires}.{nonce}.{signature}",
        f"{who}.{int(expires) + 1}.{nonce}.{signature}",
        f"{who}.{expires}.{other[2]}.{signature}",
        f"{who}.{expires}.{nonce}.{other[3]}",
        f"{who}.{expires}.{nonce}.{signature}x",
        f"{who}.{expires}.{nonce}.",
        f"{who}.{expires}.{nonce}.{sessions.read(cookie).form_key}",
        "ü" * 40,
    ]
    assert [sessions.read(each) for each in forged] == [None] * len(forged)


def test_each_session_has_another_form_key() -> None:
    sessions = Sessions(settings(TOKEN))
    keys = {sessions.read(sign_in(sessions)).form_key for _ in range(3)} | {sessions.start().form_key}
    assert len(keys) == 4


def test_without_tokens_everybody_on_this_machine_is_an_admin() -> None:
    sessions = Sessions(load_settings({}))
    session = sessions.read(sessions.start().cookie)
    assert session is not None
    assert session.caller is not None
    assert session.caller.role == Role.admin


def test_a_session_without_a_token_gives_no_access_once_there_are_tokens() -> None:
    session = Sessions(settings(TOKEN)).read(Sessions(load_settings({})).start().cookie)
    assert session is not None
    assert session.caller is None


@pytest.mark.parametrize("secret", [TOKEN, "0" * 16])
def test_a_session_does_not_contain_its_token(secret: str) -> None:
    assert secret not in sign_in(Sessions(settings(secret)), secret)
