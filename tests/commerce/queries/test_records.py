"""Lists of mails, alerts and events, and mails that are sent again (N1)."""

from typing import Any, get_args

import pytest

from commerce import notifications, outbox
from commerce.errors import BadInput, NotificationNotFound, ResendRefused
from commerce.messages.events import CartExpired
from commerce.messages.operator_actions import ActionName
from commerce.operator_actions import record, validate_action
from commerce.outbox import NewEvent
from commerce.queries.records import list_events, list_notifications, load_notification
from tests.commerce.shop import NOON, Shop

WHO = {"reason": "she lost it", "actor": "ann"}


async def queue_mails(shop: Shop) -> None:
    """Queue a mail of each status, and an alert to two admins."""
    await shop.order("1")
    for status in ("queued", "sending", "sent", "failed"):
        await shop.call(
            notifications.queue, key=f"m/{status}", kind="m", recipient="ann@customer.example", order_id="1"
        )
        await shop.sql("UPDATE notifications SET status = :status WHERE key = 'm/' || :status", status=status)
    await shop.call(notifications.queue, key="alert", kind="alert", recipient="a@shop.example, bob@shop.example")


async def keys(shop: Shop, **conditions: Any) -> list[str]:
    page = await shop.call(list_notifications, **conditions)
    return [mail.key for mail in page.notifications]


async def test_mails_are_listed_with_masked_recipients(shop: Shop) -> None:
    await queue_mails(shop)
    assert await keys(shop) == ["alert", "m/failed", "m/sent", "m/sending", "m/queued"]
    assert await keys(shop, status="unsent", order_id="1") == ["m/failed", "m/sending", "m/queued"]
    for status in ("sent", "failed"):
        assert await keys(shop, status=status) == [f"m/{status}"]
    page = await shop.call(list_notifications, limit=1)
    assert (page.notifications[0].recipient, page.next_cursor) == ("a…@shop.example, b…@shop.example", "alert")
    assert await keys(shop, limit=1, cursor="alert") == ["m/failed"]
    assert (await shop.call(load_notification, "m/sent")).recipient == "ann@customer.example"
    with pytest.raises(NotificationNotFound):
        await shop.call(load_notification, "m/none")
    for wrong in ({"limit": 0}, {"cursor": "none"}):
        with pytest.raises(BadInput):
            await shop.call(list_notifications, **wrong)


async def test_n1_a_failed_mail_is_sent_again_under_its_key(shop: Shop) -> None:
    await queue_mails(shop)
    await shop.sql("UPDATE notifications SET created_at = :at, error = 'MailRefused'", at=NOON)
    assert await shop.call(notifications.resend, "m/failed", **WHO) == "m/failed"
    found = await shop.sql(
        "SELECT status, error, created_at > now() - interval '1 hour' FROM notifications WHERE key = 'm/failed'"
    )
    assert found == [("queued", None, True)]
    with pytest.raises(ResendRefused):
        await shop.call(notifications.resend, "m/failed", **WHO)


async def test_n1_a_mail_that_was_sent_is_sent_again_as_a_copy(shop: Shop) -> None:
    await queue_mails(shop)
    for number in (1, 2):
        assert await shop.call(notifications.resend, "m/sent", **WHO) == f"m/sent/copy-{number}"
        with pytest.raises(ResendRefused):
            await shop.call(notifications.resend, "m/sent", **WHO)
        await shop.sql("UPDATE notifications SET status = 'sent' WHERE status = 'queued' AND key LIKE 'm/sent%'")
    copies = await shop.sql("SELECT recipient, order_id FROM notifications WHERE key LIKE 'm/sent%'")
    assert set(copies) == {("ann@customer.example", "1")} and len(copies) == 3
    actions = await shop.sql("SELECT process_id, action, reason FROM operator_actions")
    assert actions == [("order-processing-1", "resend", "she lost it")] * 2
    assert len(set(await shop.sql("SELECT message_id FROM notifications"))) == 7
    with pytest.raises(NotificationNotFound):
        await shop.call(notifications.resend, "m/none", **WHO)
    with pytest.raises(ResendRefused):
        await shop.call(notifications.resend, "m/sending", **WHO)


async def test_events_are_listed_last_first(shop: Shop) -> None:
    for cart in "123":
        data = CartExpired(cart_id=cart, created_at=NOON)
        await shop.call(outbox.add, NewEvent.from_data(data, aggregate=f"cart/{cart}", key=cart))
    await shop.sql("UPDATE outbox_events SET published_at = now() WHERE aggregate = 'cart/3'")
    page = await shop.call(list_events, limit=2)
    assert [event.data["cart_id"] for event in page.events] == ["3", "2"]
    rest = await shop.call(list_events, limit=2, cursor=page.next_cursor)
    assert ([event.aggregate for event in rest.events], rest.next_cursor) == (["cart/1"], None)
    assert len((await shop.call(list_events, unpublished=True)).events) == 2
    assert [event.aggregate for event in (await shop.call(list_events, about="cart/2")).events] == ["cart/2"]
    for wrong in ({"limit": 201}, {"cursor": "none"}, {"cursor": "0f6f3d5e-52e5-5d0b-8a57-2f7a53f3e4a1"}):
        with pytest.raises(BadInput):
            await shop.call(list_events, **wrong)


async def test_every_action_of_operators_can_be_stored(shop: Shop) -> None:
    """The newest migration that names the actions names all of them."""
    for action in get_args(ActionName):
        stored = validate_action(process_id="x", action=action, reason="", actor="ann")
        await shop.call(record, stored)
