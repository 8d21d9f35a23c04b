"""How long a server that cannot take a request now asks us to wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after(header: str) -> float:
    """Return the seconds that a Retry-After header asks for, in either of its forms; 0 if it asks for nothing."""
    if header.isdecimal() and header.isascii():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0
    return max(0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
