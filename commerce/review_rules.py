"""Which orders wait until a person has reviewed them, as the settings say; none by default (V16)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from commerce.currencies import decimals_of

if TYPE_CHECKING:  # it takes long to load, and all commands load the settings
    from sqlalchemy import Row

AMOUNT = re.compile(r"([A-Z]{3})\s*=\s*([0-9]{1,12}(?:\.[0-9]+)?)")
AMOUNT_HINT = "must be amounts like EUR=500,GBP=400.50"
# What an order is reviewed for, as admins read it.
AMOUNT_REASON, RISK_REASON, COUNTRIES_REASON = "its total", "its risk", "its two countries"


@dataclass(frozen=True)
class ReviewRules:
    """The rules. `above`: totals by currency, in minor units; orders above them are reviewed.

    `risk`: review orders of high risk, which are then not put on hold. `countries`: review orders whose billing and
    shipping country differ.
    """

    above: Mapping[str, int] = field(default_factory=dict)
    risk: bool = False
    countries: bool = False

    def reasons(self, order: "Row[Any]") -> list[str]:
        """Return why an order must be reviewed; empty if it need not. `order` is a row of `orders.READ`."""
        return list(self._reasons(order))

    def _reasons(self, order: "Row[Any]") -> Iterator[str]:
        limit = self.above.get(order.currency)
        if limit is not None and order.total > limit:
            yield AMOUNT_REASON
        if self.risk and order.risk_level == "high" and "failed: HighRisk" not in (order.approved or ()):
            yield RISK_REASON
        if self.countries and _differ(order.billing_country, order.shipping_country):
            yield COUNTRIES_REASON


def parse_amounts(value: str) -> dict[str, int]:
    """Parse `EUR=500,GBP=400` into minor units by currency; empty for an empty text. Raises ValueError."""
    amounts: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        if (found := AMOUNT.fullmatch(part)) is None or found[1] in amounts:
            raise ValueError(AMOUNT_HINT)
        minor = Decimal(found[2]).scaleb(decimals_of(found[1]))
        if minor != minor.to_integral_value():
            raise ValueError(AMOUNT_HINT)
        amounts[found[1]] = int(minor)
    return amounts


def _differ(billing: str | None, shipping: str | None) -> bool:
    """Return whether two countries differ; a country that the order does not name differs from none."""
    from commerce.countries import country_code  # takes long to load

    first, second = ((name or "").strip() for name in (billing, shipping))
    return bool(first and second) and (country_code(first) or first) != (country_code(second) or second)


NO_REVIEW = ReviewRules()
