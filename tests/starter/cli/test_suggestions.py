"""Mistyped ids lead to what may have been meant."""

import pytest

from commerce import errors
from commerce.errors import CommerceError
from starter.cli.suggestions import hint
from tests.running_shop import RunningShop
from tests.starter.cli.conftest import Commerce


@pytest.mark.parametrize(
    ("error", "suggestion"),
    [
        (errors.ProcessNotFound("order-procesing-1001"), " Did you mean order-processing-1001?"),
        (errors.ProcessNotFound("oder-processing-etsy~10-01"), " Did you mean order-processing-etsy~10-01?"),
        (errors.ProcessNotFound("cancel-oder-7"), " Did you mean cancel-order-7?"),
        (errors.ProcessNotFound("1001"), " That of an order is order-processing-ID: commerce runs list"),
        (errors.ProcessNotFound(""), " That of an order is order-processing-ID: commerce runs list"),
        (errors.ProcessNotFound("order-processing-1001"), ""),
        (errors.OrderNotFound("#7 x"), " To find it: commerce orders list --search '#7 x'"),
        (errors.NotificationNotFound("x"), " To see the last ones: commerce mails list"),
        (errors.ItemNotFound("MUG-WHTE", "; similar: MUG-WHITE"), ""),
        (errors.CustomerNotFound(), ""),
    ],
)
def test_a_mistyped_id_leads_to_what_may_have_been_meant(error: CommerceError, suggestion: str) -> None:
    assert hint(error) == suggestion


async def test_similar_skus_are_named(commerce: Commerce, shop: RunningShop) -> None:
    for sku in ("MUG-WHITE", "MUG-BLUE", "TEA"):
        await shop.data.stock(sku, main=1)
    wrong = await commerce("stock", "show", "mug-whte")
    assert wrong == (1, "", "No inventory item has the SKU 'mug-whte'; similar: MUG-WHITE, MUG-BLUE.\n")
    wrong = await commerce("stock", "set", "XX", "main", "1", "--reason", "x")
    assert wrong == (1, "", "No inventory item has the SKU 'XX'. To find it: commerce stock list --search XX\n")


async def test_mistyped_commands_lead_to_the_right_one(commerce: Commerce) -> None:
    assert "Did you mean 'orders'?" in (await commerce("ordrs")).err
    assert "Did you mean 'backfill'?" in (await commerce("schedules", "bakfill")).err
