"""Which shipping methods mean that the customer comes to the shop, by the titles that shops and carriers give them."""

import pytest

from commerce.shipping_rules import ShippingRules

RULES = ShippingRules()


@pytest.mark.parametrize(
    "method",
    [
        # Shopify, WooCommerce and their plug-ins, BigCommerce, Magento
        *("Local pickup", "Local Pickup", "Local pick-up", "LOCAL PICK UP", "Store pickup", "Store Pickup (Free)"),
        *(
            "Pick up in store",
            "Pickup in store",
            "Pick-up in-store",
            "In-store pickup",
            "In-Store Pick Up",
            "Shop Pickup",
        ),
        *("Pickup From Store", "Pickup", "Pick up", "Pickup (Main Street)", "Pickup - Main Street", "Pickup: Leeds"),
        *("Free pickup", "Curbside pickup", "Customer pickup", "Warehouse pick-up", "In Person Pickup"),
        *("Local Pickup Plus", "Free Local Pickup - 12 High Street", "Store Pickup, Leeds"),
        *(
            "Click & Collect",
            "Click and collect",
            "Click&Collect",
            "CLICK + COLLECT",
            "Click 'n' Collect",
            "Click-and-Collect",
        ),
        *("Collect in store", "Collect from store", "Collection from shop", "In-store collection", "Collection"),
        *("Collection (Leeds)", "Local collection", "Collect in person"),
        *("Abholung im Laden", "Abholung im Geschäft", "Selbstabholung", "Selbstabholung (Berlin)", "Abholung vor Ort"),
        *(
            "Lokale Abholung",
            "Abholung",
            "Click und Collect",
            "Retrait en magasin",
            "Retrait en boutique",
            "Click et collect",
        ),
        *("Retrait sur place", "Retrait à l’atelier", "Recogida en tienda", "Recogida local", "Retiro en tienda"),
        *("Ritiro in negozio", "Ritiro in sede", "Ritiro", "Afhalen in de winkel", "Ophalen in winkel", "Afhalen"),
        *("Levantamento na loja", "Retirada na loja", "Odbiór osobisty", "Hämta i butik", "Afhentning i butik"),
        *("Osobní odběr",),
    ],
)
def test_v6_goods_are_picked_up_in_the_shop(method: str) -> None:
    assert RULES.is_pickup(method)
    assert not RULES.buys_label(method)


@pytest.mark.parametrize(
    "method",
    [
        *("UPS Access Point pickup", "UPS Access Point™ Economy", "Parcel collection point", "Pickup point"),
        *("Pick-up point",),
        *("Locker", "Amazon locker pickup", "Pickup from locker", "Packstation", "DHL Packstation", "Parcel shop"),
        *("DPD ParcelShop", "DPD Pickup", "Point Relais", "Mondial Relay", "Retrait en Point Relais"),
        *("Point de retrait",),
        *("Retrait en bureau de poste", "Abholung Paketshop", "Abholung im Paketshop", "Abholung in der Postfiliale"),
        *("Hermes Paketshop", "Collect+ (CollectPlus)", "InPost Paczkomat", "Odbiór w punkcie", "Odbiór w Paczkomacie"),
        *("Local pickup point (PostNord)", "Store pickup at UPS Access Point", "Click & Collect - InPost locker"),
        *("Click & Collect (Royal Mail)", "Collection from post office", "Courier pickup", "Home collection"),
        *("PostNL afhaalpunt", "Ophalen bij een PostNL-punt", "Punto de recogida", "Recogida en punto Correos"),
        *("Punto di ritiro", "Ritiro in punto poste", "Ponto de recolha", "PostNord ombud", "GLS PakkeShop"),
        *("Standard", "Express", "Free shipping", "Local delivery", "Pickups Express", "Collection Express Shipping"),
        *("Summer Collection shipping", "Collect on delivery", "Free shipping: pickup next day", "Pickuptruck freight"),
        "",
    ],
)  # fmt: skip
def test_v6_goods_that_a_carrier_hands_out_are_no_pick_up(method: str) -> None:
    assert not RULES.is_pickup(method)
    assert RULES.buys_label(method) is bool(method)


@pytest.mark.parametrize(
    ("entry", "method", "pickup"),
    [
        ("Abholung", "Abholung bei uns", True),
        ("Main Street 12", "Main Street 12", True),  # Shopify has just the shop's place as the method of a pick-up
        ("Main Street 12", "12 Main Street", False),
        ("=Leeds", "Leeds (shop)", True),
        ("=Leeds", "Leeds courier", False),
        ("pickup", "DPD Pickup", False),
        ("DPD Pickup", "DPD Pickup", True),  # the shop must know
        ("pickup point", "Our pickup point", True),
        ("(!)", "Standard", False),
        ("other", "Local pickup", False),
    ],
)
def test_v6_the_setting_replaces_the_words(entry: str, method: str, pickup: bool) -> None:
    assert ShippingRules(pickup_methods=[entry]).is_pickup(method) is pickup
