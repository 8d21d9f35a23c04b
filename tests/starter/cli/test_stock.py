"""`commerce stock …` and `commerce mails …`: output as text and as JSON, and exit codes."""

from commerce import inventory, notifications
from commerce.database import Database
from tests.commerce.shop import Shop
from tests.starter.cli.conftest import Commerce


async def test_stock_is_shown_and_set(commerce: Commerce, database: Database) -> None:
    assert (await commerce("stock", "list")).out == "No items found\n"
    shop = Shop(database)
    await shop.stock("MUG", main=3)
    await shop.variant("NEW")
    await shop.order("1", MUG=2)
    await shop.call(inventory.reserve, "1")
    listed = (await commerce("stock", "list")).out.splitlines()
    assert [line.split() for line in listed[1:]] == [
        ["MUG", "Mug", "main", "3", "2", "1"],
        ["NEW", "New", "0", "no", "stock", "known"],
    ]
    assert (await commerce("stock", "list", "--limit", "1")).out.endswith("There are more: --cursor MUG\n")
    done = await commerce("stock", "set", "MUG", "main", "1", "--reason", "counted")
    assert (done.out, done.err) == (
        "MUG at main: 1 unit instead of 3\n",
        "warning: more units are reserved than there are\n",
    )
    shown = (await commerce("stock", "show", "MUG")).out
    assert "oversold" in shown and "-2" in shown and "units  order  location\n    2  1      main\n" in shown
    assert (await commerce("stock", "show", "MUG", "--json")).json["levels"][0]["available"] == -1
    missing = await commerce("stock", "show", "TEA")
    assert (missing.code, missing.err) == (
        1,
        "No inventory item has the SKU 'TEA'. To find it: commerce stock list --search TEA\n",
    )


async def test_mails_are_shown_and_sent_again(commerce: Commerce, database: Database) -> None:
    assert (await commerce("mails", "list")).out == "No mails found\n"
    shop = Shop(database)
    await shop.call(notifications.queue, key="m/1", kind="m", recipient="ann@customer.example")
    await shop.sql("UPDATE notifications SET status = 'failed', error = 'MailRefused', attempts = 6")
    listed = (await commerce("mails", "list", "--status", "failed")).out.splitlines()[1].split()
    assert (listed[:4], listed[-1]) == (["m/1", "failed", "a…@customer.example", "6"], "MailRefused")
    shown = (await commerce("mails", "show", "m/1")).out
    assert shown.startswith("m/1  failed\nto            ann@customer.example\n")
    assert (await commerce("mails", "resend", "m/1", "--reason", "repaired")).out == "m/1 is queued\n"
    assert (await commerce("mails", "list", "--json")).json["notifications"][0]["status"] == "queued"
    again = await commerce("mails", "resend", "m/1", "--reason", "repaired")
    assert (again.code, again.err) == (1, "Mail m/1 is not sent again: it waits to be sent.\n")
    assert await shop.sql("SELECT action FROM operator_actions") == ["resend"]
