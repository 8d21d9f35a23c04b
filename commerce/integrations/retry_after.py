"""The header Retry-After, by which a server asks a client to wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(header: str) -> float:
    """Return the seconds to wait, given the header in either of its forms; 0 if it is empty or invalid."""
    if header.isdecimal() and header.isascii():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0
    return max(0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
