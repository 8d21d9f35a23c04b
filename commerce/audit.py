"""The audit: rules that must always hold. Each rule is a query that returns its violations.

Shops of any size are audited in pages of items, orders or customers, so that no statement runs into the time limit. A
rule relates rows of one item, one order or one customer only, so a page sees all that it needs.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.address_digests import DIGITS
from commerce.audit_pages import NEXT_KEYS, START, with_page
from commerce.audit_rules import FINDINGS, RULES, UNLESS_RUNNING
from commerce.customers import DEFAULT_GROUP
from commerce.messages.base import Message
from commerce.messages.cancellations import cancel_process_id
from commerce.messages.customers import REGISTRATION_ID_PREFIX
from commerce.messages.orders import order_process_id
from commerce.messages.returns import return_process_id

MAX_FINDINGS = 100  # reported per rule; all are counted

CONSTANTS = {
    "order_key": order_process_id(""),
    "cancel_key": cancel_process_id(""),
    "return_key": return_process_id(""),
    "registration_key": REGISTRATION_ID_PREFIX,
    "digits": DIGITS,
    "default_group": DEFAULT_GROUP,
}
# One item can have millions of movements: the smallest page may take longer than other statements.
PAGE_TIMEOUT = text("SELECT set_config('statement_timeout', '3600s', true)")
# `ended`: the business keys whose findings are returned; null: all are.
PAGE_FINDINGS = {
    kind: {
        rule: text(f"""
            {with_page(kind)} SELECT subject, detail, business_key, count(*) OVER () AS count
            FROM ({FINDINGS[rule]}) AS found
            WHERE CAST(:ended AS text[]) IS NULL OR business_key IS NULL
               OR business_key = ANY(CAST(:ended AS text[]))
            ORDER BY subject, detail LIMIT {MAX_FINDINGS}
        """)  # noqa: S608 - our own constants
        for rule in rules
    }
    for kind, rules in RULES.items()
}
SUSPECTS = {
    kind: [
        text(f"{with_page(kind)} SELECT DISTINCT business_key FROM ({UNLESS_RUNNING[rule]}) AS found")  # noqa: S608
        for rule in rules
        if rule in UNLESS_RUNNING
    ]
    for kind, rules in RULES.items()
}


@dataclass(frozen=True)
class Page:
    """The items, orders or customers that one step of an audit checks, or the strays."""

    kind: str
    keys: Sequence[str]


class Finding(Message):
    """One violation of a rule; if it has a `business_key`, it only counts while that process does not run.

    `cure` is the command that repairs it, if there is one: an interrupted run has left it.
    """

    rule: str
    subject: str
    detail: str
    business_key: str | None = None
    cure: str | None = None
    count: int = 1  # of all findings of the rule, of which at most MAX_FINDINGS are reported


async def load_page(tx: AsyncSession, kind: str, after: str | None, limit: int) -> Page:
    """Return the next page of a kind, from RULES; `after` is the last key of the page before. It may be empty."""
    keys = await tx.scalars(NEXT_KEYS[kind], {"after": START[kind] if after is None else after, "limit": limit})
    return Page(kind, list(keys))


async def audit(tx: AsyncSession, page: Page, ended: Collection[str] | None = None) -> list[Finding]:
    """Return the violations in a page; each rule sees a consistent snapshot.

    `ended`: business keys whose processes do not run; findings of other keys are left out. None: all are returned.
    """
    values = CONSTANTS | {"page": list(page.keys), "ended": None if ended is None else sorted(ended)}
    await tx.execute(PAGE_TIMEOUT)
    return [
        Finding(rule=rule, **row)
        for rule, query in PAGE_FINDINGS[page.kind].items()
        for row in (await tx.execute(query, values)).mappings()
    ]


async def load_suspects(tx: AsyncSession, page: Page) -> set[str]:
    """Return all business keys in a page that have findings, so that the caller can check whether they run."""
    values = CONSTANTS | {"page": list(page.keys)}
    await tx.execute(PAGE_TIMEOUT)
    return {key for query in SUSPECTS[page.kind] for key in await tx.scalars(query, values)}
