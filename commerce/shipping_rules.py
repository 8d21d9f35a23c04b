"""What the settings say of orders that a person picks up, and of goods to ship without a shipping method."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

WHOLE = "="  # before words that must be the whole method, apart from a place after them: `Pickup (Main Street)`

# As shops call it when customers come to the shop itself.
PICKUP_METHODS = (
    *("local pickup", "store pickup", "shop pickup", "pickup in store", "pickup at store", "pickup from store"),
    *("in store pickup", "pickup in shop", "pickup at shop", "pickup from shop", "curbside pickup", "kerbside pickup"),
    *("warehouse pickup", "pickup from warehouse", "customer pickup", "pickup in person", "in person pickup"),
    *("=pickup", "=free pickup", "click and collect", "collect in store", "collect from store", "collect in person"),
    *("collect at store", "collect from shop", "in store collection", "store collection", "shop collection"),
    *("collection from store", "collection from shop", "collection in store", "local collection", "=collection"),
    *("customer collection", "collection in person", "click and reserve", "will call"),
    *("selbstabholung", "selbstabholer", "abholung im laden", "abholung im geschäft", "abholung im store"),
    *("abholung vor ort", "abholung in der filiale", "lokale abholung", "abholung im lager", "=abholung"),
    *("retrait en magasin", "retrait en boutique", "retrait sur place", "retrait local", "retrait à la boutique"),
    *("retrait au magasin", "retrait à l'atelier", "=retrait", "recogida en tienda", "recogida local"),
    *("recoger en tienda", "recogida en el local", "retiro en tienda", "retiro en local", "=recogida"),
    *("ritiro in negozio", "ritiro in sede", "ritiro in loco", "ritiro locale", "ritiro in store", "ritiro a mano"),
    *("ritiro di persona", "=ritiro", "afhalen in de winkel", "ophalen in de winkel", "afhalen in winkel"),
    *("ophalen in winkel", "lokaal ophalen", "lokaal afhalen", "afhalen in de zaak", "=afhalen", "=ophalen"),
    *("levantamento na loja", "levantamento em loja", "levantamento local", "recolha na loja", "recolha em loja"),
    *("retirada na loja", "retirada local", "retirada no local", "retirar na loja", "odbiór osobisty"),
    *("odbiór w sklepie", "odbiór własny", "lokalny odbiór", "hämta i butik", "upphämtning i butik"),
    *("lokal upphämtning", "avhämtning i butik", "=avhämtning", "afhentning i butik", "lokal afhentning"),
    *("hent i butikk", "hente i butikk", "lokal henting", "nouto myymälästä", "osobní odběr", "osobný odber"),
)
# Words of places where a carrier hands out parcels: these need a label, whatever else the method says.
CARRIER_PLACES = (
    *("point", "points", "pointpack", "locker", "lockers", "parcel", "parcels", "parcelshop", "parcelbox", "depot"),
    *("post office", "service centre", "drop off", "dropoff", "courier", "carrier", "home", "delivery to"),
    *("packstation", "paketshop", "paketbox", "paket", "postfiliale", "postamt", "abholstation", "abholstelle"),
    *("relais", "relay", "consigne", "bureau de poste", "punto", "puntos", "punti", "ponto", "pontos", "taquilla"),
    *("armadietto", "ufficio postale", "oficina de correos", "punt", "pakketpunt", "afhaalpunt", "postkantoor"),
    *("paczkomat", "paczkomaty", "punkt", "punkcie", "automat", "ombud", "utlämningsställe", "pakkeshop", "postkontor"),
    *("pakkeboks", "pakettipiste", "noutopiste", "výdejní místo", "zásilkovna", "boxu"),
    *("ups", "dhl", "dpd", "gls", "fedex", "usps", "tnt", "hermes", "evri", "inpost", "royal mail", "parcelforce"),
    *(
        "collectplus",
        "collect+",
        "mondial",
        "colissimo",
        "chronopost",
        "bpost",
        "postnl",
        "postnord",
        "correos",
        "seur",
    ),
    *("australia post", "canada post", "an post", "packeta", "instabox", "budbee", "posti", "yodel", "omniva"),
)
NoMethod = Literal["ship_without_label", "hold"]


@dataclass(frozen=True)
class ShippingRules:
    """How orders are shipped. `pickup_methods`: words of shipping methods that mean pick-up in store."""

    pickup_methods: Sequence[str] = PICKUP_METHODS
    no_method: NoMethod = "ship_without_label"

    def is_pickup(self, method: str) -> bool:
        """Return whether the customer picks up the goods in the shop itself, and not at a place of a carrier.

        The method has the words of an entry, whatever the case and the signs between words. One that names a place of a
        carrier is none, unless the entry names that place as well.
        """
        text = _words(method)
        return any(
            _has(text, entry) and all(place in entry for place in _places() if place in text)
            for entry in map(_words, self.pickup_methods)
        )

    def buys_label(self, method: str) -> bool:
        """Return whether goods that are shipped by this method, empty if there is none, get a label."""
        return bool(method) and not self.is_pickup(method)

    @property
    def holds_without_method(self) -> bool:
        """Whether goods that need shipping, but have no shipping method, wait for a person."""
        return self.no_method == "hold"


@lru_cache(1_000)
def _words(text: str) -> str:
    """Return the words of a text with one blank around each: `Pick-up (Shop)` and `pickup: shop` differ in signs only.

    A sign that ends the words of `WHOLE` stays, as `|`.
    """
    text = unicodedata.normalize("NFKC", text).casefold().strip()
    whole = text.startswith(WHOLE)
    text = re.sub(r"\s*&\s*|(?<=\s)(?:\+|n|'n'|und|et)(?=\s)", " and ", text)
    text = re.sub(r"\s[-–—]\s|[(\[:,/|]", " | ", text)
    text = re.sub(r"[^\w|+]+", " ", text)
    text = re.sub(r"\bpick (up|ups)\b", r"pick\1", text)
    return f"{WHOLE if whole else ''} {' '.join(text.split())} "


@cache
def _places() -> tuple[str, ...]:
    return tuple(map(_words, CARRIER_PLACES))


def _has(text: str, entry: str) -> bool:
    if entry.startswith(WHOLE):
        return f"{text}| ".startswith(f"{entry.removeprefix(WHOLE)}| ")
    return not entry.isspace() and entry in text.replace(" | ", " ")


DEFAULT_RULES = ShippingRules()
