"""The carriers of the shop by name, and the setting that picks one."""

import pytest

from commerce.errors import SettingsError
from commerce.integrations.carrier import Carrier
from commerce.integrations.carriers import CARRIERS, open_carriers, parcel_of
from commerce.integrations.easypost import EasyPost
from commerce.settings import Settings, load_settings
from tests.commerce.integrations.parcel_post import ParcelPost


def parcel_post(settings: Settings) -> Carrier:
    return ParcelPost("https://parcelpost.example", "token", parcel_of(settings))


async def test_all_carriers_are_opened_and_not_only_the_one_for_new_labels() -> None:
    factories = CARRIERS | {"parcel-post": parcel_post}
    carriers = open_carriers(load_settings({"COMMERCE_CARRIER": "parcel-post"}), factories)
    assert {name: type(carrier) for name, carrier in carriers.items()} == {
        "easypost": EasyPost,
        "parcel-post": ParcelPost,
    }
    for carrier in carriers.values():
        await carrier.close()


def test_an_unknown_carrier_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError) as error:
        open_carriers(load_settings({"COMMERCE_CARRIER": "pigeon"}))
    assert str(error.value) == "COMMERCE_CARRIER: there is no carrier 'pigeon', only easypost"


def test_easypost_is_the_default() -> None:
    assert load_settings({}).carrier == "easypost"
