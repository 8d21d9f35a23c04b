"""The choices of exports."""

from typing import Literal

FulfillmentFormat = Literal["shopify", "woocommerce"]
