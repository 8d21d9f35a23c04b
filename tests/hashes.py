"""Hash passwords in a millisecond in tests; tests/commerce/test_passwords.py is about what a hash costs."""

import pytest
from argon2 import PasswordHasher

from commerce import passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PRODUCTION = passwords._hasher


def hash_cheaply() -> None:
    """Let the code that runs in this process make cheap hashes."""
    passwords._hasher = lambda: CHEAP  # type: ignore[assignment]


@pytest.fixture
def production_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as in production."""
    monkeypatch.setattr(passwords, "_hasher", PRODUCTION)
