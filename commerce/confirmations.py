"""Registrations that wait until somebody proves that the address is theirs (A9).

A mailed link proves the address, whichever registration it was mailed for. The password says which registration is
confirmed: the one that it was chosen for. So nobody gets an account with a password of somebody else, and who asks in
another person's name blocks nothing: all registrations of an address wait side by side, and the link of any mail of the
day works for each of them.
"""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, waits
from commerce.address_digests import DIGITS
from commerce.messages.customers import REGISTRATION_ID_PREFIX, ConfirmationAsked, ConfirmationRequest
from commerce.messages.waits import WaitKey

KIND = "confirm-address"  # of the mail, and the name of the step
LINK_TIME = timedelta(days=1)  # as long as its mail counts, so that there is always a valid link
MAX_MAILS = 3  # per address and LINK_TIME
MAX_CANDIDATES = 50  # registrations of an address whose passwords are compared, the newest first
ADDRESS_PART = len(REGISTRATION_ID_PREFIX) + DIGITS  # of a process id: the same for all registrations of an address

LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.confirmations'), hashtext(:email))")
ADD = text("""
    INSERT INTO pending_registrations (process_id, password_hash, asked_at)
    VALUES (:process_id, :password_hash, clock_timestamp())
    ON CONFLICT (process_id) DO UPDATE SET password_hash = excluded.password_hash
""")
DELETE = text("DELETE FROM pending_registrations WHERE process_id = :process_id")
COUNT_MAILS = text("""
    SELECT count(*) FROM notifications
    WHERE kind = :kind AND recipient = :email AND created_at > clock_timestamp() - CAST(:time AS interval)
""")
LINK_ENDS = text("SELECT clock_timestamp() + CAST(:time AS interval)")
PENDING = text("""
    SELECT process_id, password_hash FROM pending_registrations
    WHERE left(process_id, :length) = left(CAST(:process_id AS text), :length) ORDER BY asked_at DESC LIMIT :limit
""")


class Pending(NamedTuple):
    """A registration that waits: its process id, and the hash of the password chosen for it."""

    process_id: str
    password_hash: str


async def ask(tx: AsyncSession, wait: WaitKey, request: ConfirmationRequest) -> ConfirmationAsked:
    """Let a registration be confirmed, and queue the mail with the link, at most three per address and day."""
    await tx.execute(ADD, {"process_id": wait.business_key, "password_hash": request.password_hash})
    wait_id = await waits.open_id(tx, wait)
    await tx.execute(LOCK, {"email": request.email})
    sent = await tx.scalar(COUNT_MAILS, {"kind": KIND, "email": request.email, "time": LINK_TIME})
    if wait_id is None or sent >= MAX_MAILS:
        return ConfirmationAsked(mail=None)
    until = await tx.scalar(LINK_ENDS, {"time": LINK_TIME})
    mail = f"{KIND}/{wait_id}"
    data = {"wait_id": wait_id, "until": until.isoformat()}
    await notifications.queue(tx, key=mail, kind=KIND, recipient=request.email, data=data)
    return ConfirmationAsked(mail=mail)


async def end(tx: AsyncSession, process_id: str) -> None:
    """Forget that this registration waits."""
    await tx.execute(DELETE, {"process_id": process_id})


async def pending(tx: AsyncSession, process_id: str) -> list[Pending]:
    """Return the registrations that wait and are about the same address as this one, the newest first."""
    values = {"process_id": process_id, "length": ADDRESS_PART, "limit": MAX_CANDIDATES}
    return [Pending(*row) for row in await tx.execute(PENDING, values)]
