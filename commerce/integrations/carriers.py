"""The carriers that the shop has, by name. The setting COMMERCE_CARRIER names the one that sells new labels."""

from collections.abc import Callable, Mapping

from commerce.errors import SettingsError
from commerce.integrations.carrier import Carrier, Parcel
from commerce.integrations.easypost import EasyPost
from commerce.settings import Settings
from commerce.shipments import Address

Factory = Callable[[Settings], Carrier]


def sender_of(settings: Settings) -> Address:
    """Return the address that parcels are sent from."""
    return Address(
        name=settings.ship_from_name,
        street1=settings.ship_from_street1,
        city=settings.ship_from_city,
        zip=settings.ship_from_zip,
        state=settings.ship_from_state,
        country=settings.ship_from_country,
        phone=settings.ship_from_phone,
    )


def parcel_of(settings: Settings) -> Parcel:
    """Return the size and weight that all parcels are declared with."""
    return Parcel(
        length=settings.parcel_length,
        width=settings.parcel_width,
        height=settings.parcel_height,
        weight=settings.parcel_weight,
    )


def easypost(settings: Settings) -> Carrier:
    """Return the shop's EasyPost account."""
    return EasyPost(settings.carrier_url, settings.carrier_api_key, sender_of(settings), parcel_of(settings))


# The ledger notes the name with each label, and refunds ask the carrier of that name. So keep a carrier here under the
# same name while its labels may still be refunded, even if another one sells the new labels.
CARRIERS: dict[str, Factory] = {
    "easypost": easypost,
}


def open_carriers(settings: Settings, factories: Mapping[str, Factory] = CARRIERS) -> dict[str, Carrier]:
    """Return all carriers by name; raises SettingsError if the one for new labels is not among them."""
    if settings.carrier not in factories:
        known = ", ".join(sorted(factories))
        raise SettingsError(f"COMMERCE_CARRIER: there is no carrier {settings.carrier!r}, only {known}")
    return {name: factory(settings) for name, factory in factories.items()}
