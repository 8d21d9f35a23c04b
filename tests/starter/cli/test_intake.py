"""`commerce intake …`: webhooks that could not be used are listed and tried again."""

from functools import partial

import pytest

from commerce.database import Database
from commerce.intake import deliveries
from commerce.intake.deliveries import Delivery
from tests.commerce.intake.webhooks import encoded, shopify_order
from tests.starter.cli.conftest import Commerce

ODD = shopify_order(shipping_address={"country_code": "XX", "address1": "1 High Street"})


@pytest.fixture
def intake(commerce: Commerce) -> Commerce:
    """Run `commerce intake …`."""
    return partial(commerce, "intake")


async def test_without_unusable_webhooks_the_list_says_so(intake: Commerce) -> None:
    assert await intake("list") == (0, "Every webhook of the shop could be used\n", "")
    assert await intake("list", "--json") == (0, "[]\n", "")
    assert await intake("retry") == (0, "There is no such webhook with a body\n", "")


async def test_unusable_webhooks_are_listed_and_retried(intake: Commerce, database: Database) -> None:
    for topic, number in (("orders/create", 1), ("orders/paid", 2), ("products/update", 3)):
        await deliveries.receive(database, Delivery("shopify", topic, f"w-{number}", encoded(ODD), "shop"))
    output = (await intake("list")).out
    assert "shopify  orders/paid  w-2\n" in output and "BadOrder: shipping_country: " in output
    assert "UnknownTopic: Shopify's topic products/update is not used here; not kept\n" in output
    listed = (await intake("list", "--json")).json
    assert [(each["delivery_id"], each["is_kept"]) for each in listed] == [("w-3", False), ("w-2", True), ("w-1", True)]
    assert await intake("retry", "w-2") == (0, "A worker takes 1 webhook again\n", "")
    assert (await intake("retry", "--json")).json == {"retried": 1}
    assert await deliveries.take_waiting(database) == 2
    assert len((await intake("list", "--json")).json) == 3
