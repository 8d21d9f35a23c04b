"""Entries of COMMERCE_API_TOKENS: a secret, which makes its holder an admin, or NAME:ROLE:SECRET."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

MIN_SECRET_LENGTH = 16  # characters
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
UNNAMED = "http"  # recorded for a token without a name
# Recorded for actions that no token took, so that no token can pass for them.
RESERVED_NAMES = frozenset({UNNAMED, "cli", "link", "local", "update"})


class Role(StrEnum):
    """What a caller may do. Each role may do what the ones before it may."""

    viewer = "viewer"  # read, with personal data masked
    operator = "operator"  # act, and see personal data
    admin = "admin"  # configure and destroy

    def includes(self, least: "Role") -> bool:
        """Return whether this role may do what `least` may."""
        order = list(Role)
        return order.index(self) >= order.index(least)


@dataclass(frozen=True)
class ApiToken:
    """A token of the API: whose it is, what they may do, and its secret."""

    name: str
    role: Role
    secret: str = field(repr=False)


def parse_token(entry: str) -> ApiToken:
    """Return the token that an entry describes. Raises ValueError, whose message never contains the secret."""
    parts = entry.split(":")
    if len(parts) not in (1, 3):
        raise ValueError("each must be SECRET or NAME:ROLE:SECRET, and no part may contain a colon")
    name, role, secret = parts if len(parts) == 3 else (UNNAMED, Role.admin, entry)
    if len(secret) < MIN_SECRET_LENGTH:
        raise ValueError(f"each must have at least {MIN_SECRET_LENGTH} characters")
    if role not in list(Role):
        raise ValueError(f"each role must be one of {', '.join(Role)}")
    if len(parts) == 3 and (not NAME.fullmatch(name) or name in RESERVED_NAMES):
        reserved = ", ".join(sorted(RESERVED_NAMES))
        raise ValueError(f"each name must have 1 to 64 letters, digits or . _ @ - and be none of {reserved}")
    return ApiToken(name, Role(role), secret)
