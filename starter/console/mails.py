"""Mails: what was sent, what waits and what has failed, as the recipient sees it."""

from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, Response

from commerce import notifications
from commerce.mail.notifier import WEBHOOK
from commerce.mail.preview import preview
from commerce.messages.record_views import NotificationPage, NotificationStatus
from commerce.queries import records
from commerce.queries.masking import mask_addresses
from starter.api.callers import Role, requires
from starter.api.parameters import Text
from starter.console.listing import Listing, who
from starter.console.sessions import PATH
from starter.console.views import HEADERS, ViewDep

PAGE_SIZE = 50
STATUSES: tuple[NotificationStatus, ...] = get_args(NotificationStatus)
# The preview is a page of its own in a frame of ours. It has the styles of mails, and can run and load nothing.
PREVIEW_HEADERS = HEADERS | {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox",
    "X-Frame-Options": "SAMEORIGIN",
}

routes = APIRouter(prefix="/mails")
Key = Annotated[Text, Query(max_length=500)]


@routes.get("", dependencies=[requires(Role.viewer)])
async def show_mails(view: ViewDep) -> Response:
    """List mails and alerts, with masked recipients."""
    listing = Listing(view, "mails", ("status", "order"))
    found = NotificationPage(notifications=[])
    with listing.showing_problems():
        status = listing.choice("status", STATUSES)
        listing.check()
        async with view.database.transaction() as tx:
            found = await records.list_notifications(
                tx,
                status=status,
                order_id=listing.filters["order"] or None,
                limit=PAGE_SIZE,
                cursor=listing.cursor,
            )
    return listing.render("mails.html.j2", found=found, statuses=STATUSES)


@routes.get("/mail", dependencies=[requires(Role.viewer)])
async def show_mail(view: ViewDep, key: Key) -> Response:
    """Show a mail, to operators as its recipient sees it."""
    async with view.database.transaction() as tx:
        mail = await records.load_notification(tx, key)
        shown = None
        if view.caller.sees_personal_data and mail.recipient != WEBHOOK:
            shown = await preview(tx, view.settings, key)
    if not view.caller.sees_personal_data:
        mail = mail.model_copy(update={"recipient": mask_addresses(mail.recipient)})
    return view.render("mail.html.j2", mail=mail, shown=shown, key=key)


@routes.get("/preview", dependencies=[requires(Role.operator)])
async def show_preview(view: ViewDep, key: Key) -> Response:
    """Return the HTML page of a mail alone, for the frame in the page about it."""
    async with view.database.transaction() as tx:
        shown = await preview(tx, view.settings, key)
    return HTMLResponse(shown.html if shown else "", headers=PREVIEW_HEADERS)


@routes.post("/resend", dependencies=[requires(Role.operator)])
async def resend(view: ViewDep) -> Response:
    """Queue a mail again, or a copy of one that was sent."""
    async with view.database.transaction() as tx:
        queued = await notifications.resend(tx, view.form.get("key"), **who(view))
    return view.redirect(mail_path(queued), "It is queued; a worker sends it within minutes.")


def mail_path(key: str) -> str:
    """Return the path of the page of a mail."""
    return f"{PATH}/mails/mail?{urlencode({'key': key})}"
