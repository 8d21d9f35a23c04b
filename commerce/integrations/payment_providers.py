"""The payment providers that the shop has, by name. The setting COMMERCE_PAYMENTS names the one that is used."""

from collections.abc import Callable, Mapping

from commerce.errors import SettingsError
from commerce.integrations.payment_provider import PaymentProvider
from commerce.integrations.stripe import Stripe
from commerce.messages.payments import AT_SHOP
from commerce.settings import Settings

Factory = Callable[[Settings], PaymentProvider]


def stripe(settings: Settings) -> PaymentProvider:
    """Return the shop's Stripe account."""
    return Stripe(settings.payments_url, settings.payments_api_key)


# The refunds in our tables have these names: a refund is only repeated at the provider that it was planned for.
PROVIDERS: dict[str, Factory] = {
    "stripe": stripe,
}


def open_providers(settings: Settings, factories: Mapping[str, Factory] = PROVIDERS) -> dict[str, PaymentProvider]:
    """Return the provider that is used, by name; none if payments are made at the shop. Raises SettingsError."""
    if settings.payments == AT_SHOP:
        return {}
    if settings.payments not in factories:
        known = ", ".join(sorted({*factories, AT_SHOP}))
        raise SettingsError(f"COMMERCE_PAYMENTS: there is no payment provider {settings.payments!r}, only {known}")
    return {settings.payments: factories[settings.payments](settings)}
