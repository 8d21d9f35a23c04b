"""What the settings say of orders that a person picks up, and of goods to ship without a shipping method."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# In English, German, French, Spanish, Italian, Dutch, Portuguese, Polish and Swedish.
PICKUP_METHODS = (
    *("pickup", "pick up", "pick-up", "collection", "collect in store", "click and collect", "click & collect"),
    *("abholung", "selbstabholung", "retrait", "recogida", "ritiro", "afhalen", "levantamento", "odbiór", "avhämtning"),
)
NoMethod = Literal["ship_without_label", "hold"]


@dataclass(frozen=True)
class ShippingRules:
    """How orders are shipped. `pickup_methods`: words or phrases of shipping methods that mean pick-up in store."""

    pickup_methods: Sequence[str] = PICKUP_METHODS
    no_method: NoMethod = "ship_without_label"

    def is_pickup(self, method: str) -> bool:
        """Return whether the customer picks up the goods: the method has one of the words, in any case, as a word."""
        return any(
            re.search(rf"(?<!\w){re.escape(words)}(?!\w)", method, re.IGNORECASE) for words in self.pickup_methods
        )

    def buys_label(self, method: str) -> bool:
        """Return whether goods that are shipped by this method, empty if there is none, get a label."""
        return bool(method) and not self.is_pickup(method)

    @property
    def holds_without_method(self) -> bool:
        """Whether goods that need shipping, but have no shipping method, wait for a person."""
        return self.no_method == "hold"


DEFAULT_RULES = ShippingRules()
