"""Show a mail as its recipient sees it, without sending it."""

from email.utils import parseaddr

import structlog
from jinja2 import TemplateError
from sqlalchemy import text
from sqlalchemy.exc import NoResultFound
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import NotificationNotFound
from commerce.mail.render import MailTemplates, RenderedMail
from commerce.mail.template_data import load_template_data
from commerce.settings import Settings

FIND = text("SELECT kind, order_id, data FROM notifications WHERE key = :key")

log = structlog.stdlib.get_logger(__name__)


async def preview(tx: AsyncSession, settings: Settings, key: str) -> RenderedMail | None:
    """Return a mail with today's data, and without the links that answer a question: only its recipient has these.

    None: its data are gone, such as those of a forgotten person. Raises NotificationNotFound.
    """
    found = (await tx.execute(FIND, {"key": key})).one_or_none()
    if found is None:
        raise NotificationNotFound(key)
    name, address = parseaddr(settings.mail_from)
    variables = {"shop": name or address.rpartition("@")[2], "key": key, "links": None}
    try:
        data = await load_template_data(tx, found.kind, found.order_id, found.data)
        return MailTemplates(settings.locale).render(found.kind, data | variables)
    except (TemplateError, NoResultFound, LookupError, TypeError, ValueError, AttributeError) as error:
        log.info("a mail cannot be shown", key=key, error=type(error).__name__)
        return None
