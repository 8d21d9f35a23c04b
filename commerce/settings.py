"""All settings, read once at startup: from the environment, then `.env`, then the embedded stack's `stack.json`."""

import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from commerce.address_digests import AddressDigests
from commerce.answer_links import AnswerLinks
from commerce.api_tokens import parse_token
from commerce.cron import parse_cron
from commerce.errors import SettingsError
from commerce.order_identity import DEFAULT_SOURCE, SOURCE
from commerce.review_rules import ReviewRules, parse_amounts
from commerce.shipping_rules import PICKUP_METHODS, NoMethod, ShippingRules

if TYPE_CHECKING:
    from limits import RateLimitItem

PREFIX = "COMMERCE_"
STACK_FILE = "stack.json"
DEFAULT_DATA_DIR = Path(".commerce")
CURRENCY = re.compile(r"[A-Z]{3}")
EVENT_PREFIX = re.compile(r"([A-Za-z0-9-]+\.)+")
MIN_TOKEN_LENGTH = 16  # characters of the secrets of webhooks
MIN_KEY_LENGTH = 32  # characters of the keys that sign links and make digests
SOURCE_OR_DEFAULT = rf"^({SOURCE.pattern})?$"
MAX_PORT = 65_535
UNPROVEN = (
    "COMMERCE_CONFIRM_ADDRESS is off: whoever registers with another person's address gets the orders that were placed "
    "with it"
)
# Settings that can be read from a file, which COMMERCE_<NAME>_FILE names.
FILE_SETTINGS = (
    "database_url",
    "direct_database_url",
    "migration_database_url",
    "smtp_url",
    "carrier_api_key",
    "payments_api_key",
    "warehouse_secrets",
    "alert_webhook_url",
    "api_tokens",
    "link_keys",
    "address_keys",
    "shopify_secrets",
    "woocommerce_secrets",
)
# An empty file of these turns a route off; an empty file of tokens would open the API.
MAY_BE_EMPTY = (
    *("link_keys", "address_keys", "payments_api_key"),
    *("warehouse_secrets", "shopify_secrets", "woocommerce_secrets"),
)
ADDRESS = re.compile(r"[^\s@,<>]+@[^\s@,<>]+")  # a rough check: only sending shows whether an address works


class Settings(BaseModel):
    """The shop's settings; each field is the environment variable COMMERCE_<NAME>."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, validate_default=True)

    data_dir: Path = Field(DEFAULT_DATA_DIR, description="Folder of the embedded stack: its data, mails and stack.json")
    database_url: SecretStr = Field(
        SecretStr("postgresql://commerce@127.0.0.1:5432/commerce"), description="The shop's PostgreSQL database"
    )
    direct_database_url: SecretStr | None = Field(
        None, description="The same database without the pooler, if the URL above is that of one such as PgBouncer"
    )
    migration_database_url: SecretStr | None = Field(
        None, description="The same database with the role that owns its tables, for `commerce migrate`"
    )
    smtp_url: SecretStr = Field(
        SecretStr("smtp://127.0.0.1:1025"),
        description="Mail server: smtp://, smtp+starttls:// or smtps://, with user:password@ if it requires a login",
    )
    mail_from: str = Field("Shop <shop@shop.example>", description="Sender of every mail")
    admin_emails: tuple[str, ...] = Field(
        (), description="Addresses of the admins, who receive alerts; separated by commas"
    )
    carrier: str = Field(
        "easypost", description="Carrier that sells new labels: a name in commerce/integrations/carriers.py"
    )
    carrier_url: str = Field("http://127.0.0.1:9010/v2", description="Base URL of the carrier's API")
    carrier_api_key: SecretStr = Field(SecretStr("test"), description="Key for the carrier's API")
    payments: str = Field(
        "shop",
        description="Payment provider that makes refunds: a name in commerce/integrations/payment_providers.py; shop: "
        "payments are refunded at the shop that orders come from",
    )
    payments_url: str = Field("https://api.stripe.com/v1", description="Base URL of the payment provider's API")
    payments_api_key: SecretStr = Field(SecretStr(""), description="Secret key for the payment provider's API")
    capture: Literal["off", "on_fulfillment"] = Field(
        "off",
        description="Whether orders whose payment is authorized are processed, and their payment captured when they "
        "are fulfilled; off: they wait until the shop that they come from has captured it",
    )
    warehouse_url: str = Field("http://127.0.0.1:9020", description="Base URL of the warehouse's API")
    warehouse_secrets: tuple[SecretStr, ...] = Field(
        (),
        description="Secrets that sign the warehouse's answers, newest first, separated by commas; empty: "
        "POST /intake/warehouse is off",
    )
    fulfillment: Literal["immediate", "confirmed"] = Field(
        "immediate",
        description="Whether an order waits, before its label is bought, until the warehouse has answered what it has "
        "picked",
    )
    part_shipments: Literal["off", "on"] = Field(
        "off",
        description="Whether an order ships without the units that the warehouse has not found; off: it is undone, and "
        "waits for stock",
    )
    ship_from_name: str = Field("Shop", description="Sender on shipping labels: name")
    ship_from_street1: str = Field("1 Warehouse Way", description="Sender on shipping labels: street")
    ship_from_city: str = Field("London", description="Sender on shipping labels: city")
    ship_from_zip: str = Field("N1 9GU", description="Sender on shipping labels: postal code")
    ship_from_state: str = Field("", description="Sender on shipping labels: state or province")
    ship_from_country: str = Field("GB", description="Sender on shipping labels: ISO 3166 code of the country")
    ship_from_phone: str = Field("", description="Sender on shipping labels: phone number")
    parcel_length: float = Field(10, gt=0, description="Parcel of an order: length in inches")
    parcel_width: float = Field(8, gt=0, description="Parcel of an order: width in inches")
    parcel_height: float = Field(4, gt=0, description="Parcel of an order: height in inches")
    parcel_weight: float = Field(16, gt=0, description="Parcel of an order: weight in ounces")
    alert_webhook_url: str | None = Field(
        None, description="URL to which alerts are posted as JSON, in addition to mail"
    )
    event_prefix: str = Field("com.shop.", description="Prefix of event types in webhooks")
    event_source: str = Field("/durable-commerce", description="Source of events in webhooks (`source` in CloudEvents)")
    webhook_private: Literal["refuse", "allow"] = Field(
        "refuse", description="Whether webhooks may point to private addresses"
    )
    timezone: str = Field("UTC", description="The shop's time zone, an IANA name")
    currency: str = Field("GBP", description="Currency of orders that name none")
    order_source: str = Field(
        DEFAULT_SOURCE,
        pattern=rf"^{SOURCE.pattern}$",
        description="The shop that orders come from, if an import or a request names no other; part of their ids",
    )
    locale: str = Field(
        "en_GB", description="How mails write amounts and dates: an English locale, like en_US; texts stay English"
    )
    pickup_methods: tuple[str, ...] = Field(
        (),
        description="Words of shipping methods that mean pick-up in the shop, which needs no label; "
        "separated by commas. An entry that starts with = must be the whole method. "
        "Empty: the usual words in several languages",
    )
    no_method: NoMethod = Field(
        "ship_without_label",
        description="What becomes of goods that need shipping but have no shipping method",
    )
    ship_unpaid_methods: tuple[str, ...] = Field(
        (),
        description="Payment methods whose orders are shipped before they are paid, like Cash on Delivery (COD); "
        "separated by commas",
    )
    review_above: str = Field(
        "",
        description="Totals above which an order waits until a person has approved it, by currency, like "
        "EUR=500,GBP=400",
    )
    return_days: int = Field(30, ge=1, le=365, description="Days that a return waits for its goods, then it is closed")
    review_risk: Literal["off", "high"] = Field(
        "off", description="Whether orders of high risk wait for that approval, instead of being put on hold"
    )
    review_countries: Literal["off", "differ"] = Field(
        "off", description="Whether orders whose billing and shipping countries differ wait for that approval"
    )
    schedules: Literal["on", "off"] = Field(
        "on", description="Whether a worker updates Temporal's schedules when it starts"
    )
    cron_cleanup_expired_carts: str = Field("0 2 * * *", description="When abandoned carts are deleted")
    cron_sync_inventory: str = Field("0 */6 * * *", description="When stock is set to the warehouse's levels")
    cron_process_pending_orders: str = Field("*/15 * * * *", description="When pending orders are processed")
    cron_collect_analytics_data: str = Field(
        "0 1 * * *", description="When the figures of the previous day are computed"
    )
    cron_upkeep: str = Field("30 3 * * *", description="When records past their retention are deleted")
    keep_ledger_days: int = Field(
        45,
        ge=1,
        le=3_650,
        description="Days that the ledger keeps steps of ended processes; 7 more than Temporal's retention of runs",
    )
    keep_events_days: int = Field(
        30, ge=4, le=3_650, description="Days that published events are kept; a delivery may need them for 3 days"
    )
    keep_notifications_days: int = Field(400, ge=1, le=3_650, description="Days that mails and alerts are kept")
    keep_intake_days: int = Field(
        14, ge=2, le=3_650, description="Days that webhooks of a shop are known, and kept if they could not be used"
    )
    keep_invoices_days: int = Field(
        0,
        ge=0,
        le=7_300,
        description="Days after an order that its billing name and address are kept although its customer was "
        "forgotten, as tax laws may demand; 0: not at all",
    )
    log_format: Literal["console", "json"] = Field("console", description="Format of logs")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged")
    worker_activities: int = Field(20, ge=1, le=500, description="Steps that one worker runs concurrently")
    metrics_address: str = Field(
        "", description="Address at which a worker serves metrics for Prometheus, like 127.0.0.1:9464; empty: none"
    )
    traces_url: str | None = Field(
        None,
        description="URL to which traces are sent as OTLP over HTTP, like http://127.0.0.1:4318/v1/traces; empty: none",
    )
    traces_sampled: float = Field(0.1, ge=0, le=1, description="Fraction of traces that are kept, from 0 to 1")
    api_host: str = Field("127.0.0.1", description="Address the API listens on")
    api_port: int = Field(9000, ge=0, le=MAX_PORT, description="Port the API listens on")
    api_connections: int = Field(
        512, ge=16, le=50_000, description="Connections that the API keeps open; further ones replace idle ones"
    )
    api_tokens: tuple[SecretStr, ...] = Field(
        (),
        description="Bearer tokens that give access to the API, separated by commas: SECRET, or NAME:ROLE:SECRET with "
        "the role viewer, operator or admin",
    )
    link_keys: tuple[SecretStr, ...] = Field(
        (),
        description="Keys that sign links in mails with which a person answers a step, newest first, separated by "
        "commas; empty: mails have no such links",
    )
    link_url: str | None = Field(
        None, description="URL of the API in those links, as people reach it; empty: COMMERCE_API_HOST and its port"
    )
    confirm_address: Literal["off", "on"] = Field(
        "off",
        description="Whether a registration waits until somebody proves with a mailed link that the address is theirs",
    )
    address_keys: tuple[SecretStr, ...] = Field(
        (),
        description="Keys of the digests that stand for e-mail addresses, newest first, separated by commas; empty: "
        "nobody can be forgotten. Never remove one",
    )
    limit_starts: str = Field(
        "30/second;600/minute", description="How many processes of one type can be started over HTTP; off: any number"
    )
    limit_registrations: str = Field(
        "60/minute", description="How many registrations over HTTP one caller (token, else address) can send"
    )
    limit_registrations_per_address: str = Field(
        "20/hour", description="How many registrations over HTTP are accepted for one e-mail address"
    )
    limit_intake: str = Field("100/second", description="How many webhooks of one platform are accepted")
    shopify_secrets: tuple[SecretStr, ...] = Field(
        (), description="Secrets that sign Shopify's webhooks, separated by commas; empty: POST /intake/shopify is off"
    )
    shopify_source: str = Field(
        "", pattern=SOURCE_OR_DEFAULT, description="Source of Shopify's orders; empty: COMMERCE_ORDER_SOURCE"
    )
    woocommerce_secrets: tuple[SecretStr, ...] = Field(
        (),
        description="Secrets that sign WooCommerce's webhooks, one per line; empty: POST /intake/woocommerce is off",
    )
    woocommerce_source: str = Field(
        "", pattern=SOURCE_OR_DEFAULT, description="Source of WooCommerce's orders; empty: COMMERCE_ORDER_SOURCE"
    )
    encryption: Literal["on", "off"] = Field("on", description="Whether the data that Temporal stores is encrypted")
    encryption_keys: SecretStr = Field(
        SecretStr(""), description="Encryption keys, newest first, separated by commas or spaces"
    )
    encryption_keys_file: Path | None = Field(
        None, description="File with the encryption keys, one per line, newest first"
    )
    console_url: str | None = Field(
        None,
        description="URL of the console as operators reach it, like https://office.example/console, for links in "
        "alerts; empty: alerts have no links",
    )
    temporal_ui_url: str = Field(
        "http://localhost:8233", description="URL of Temporal's UI, whose pages may ask the API to decrypt payloads"
    )

    @field_validator(
        "admin_emails",
        "api_tokens",
        "link_keys",
        "address_keys",
        "pickup_methods",
        "ship_unpaid_methods",
        "warehouse_secrets",
        "shopify_secrets",
        "woocommerce_secrets",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        if not value:  # an empty file, see MAY_BE_EMPTY
            return ()
        # WooCommerce makes secrets that contain commas.
        separators = r"\n" if info.field_name == "woocommerce_secrets" else r"[,\n]"
        parts = tuple(part.strip() for part in re.split(separators, value) if part.strip())
        if not parts:  # an empty list of tokens would open the API
            raise ValueError("contains only separators: set a value, or leave it empty")
        return parts

    @field_validator("database_url", "direct_database_url", "migration_database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        if not value.get_secret_value().startswith(("postgresql://", "postgresql+asyncpg://")):
            raise ValueError("must start with postgresql://")
        from sqlalchemy import make_url  # imported here because loading it takes longer than showing `--help`
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(value.get_secret_value())
        except (ValueError, ArgumentError):
            # `from None`: SQLAlchemy's message may hold the password.
            raise ValueError("is not a URL like postgresql://user:password@host:5432/name") from None
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("smtp://", "smtp+starttls://", "smtps://")):
            raise ValueError("must start with smtp://, smtp+starttls:// or smtps://")
        return value

    @field_validator("admin_emails")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(ADDRESS.fullmatch(address) for address in value):
            raise ValueError("must be addresses separated by commas, like ann@shop.example, bob@shop.example")
        return value

    @field_validator("api_tokens")
    @classmethod
    def _are_tokens(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        secrets = [parse_token(entry.get_secret_value()).secret for entry in value]
        if len(set(secrets)) < len(secrets):
            raise ValueError("two have the same secret")
        return value

    @field_validator("warehouse_secrets", "shopify_secrets", "woocommerce_secrets")
    @classmethod
    def _are_long(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(token) < MIN_TOKEN_LENGTH for token in value):
            raise ValueError(f"each must have at least {MIN_TOKEN_LENGTH} characters")
        return value

    @field_validator("link_keys", "address_keys")
    @classmethod
    def _are_strong(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key) < MIN_KEY_LENGTH for key in value):
            raise ValueError(f"each must have at least {MIN_KEY_LENGTH} characters")
        return value

    @field_validator("capture")
    @classmethod
    def _has_provider(cls, value: str, info: ValidationInfo) -> str:
        if value != "off" and info.data.get("payments") == "shop":
            raise ValueError("on_fulfillment needs COMMERCE_PAYMENTS, which names the payment provider")
        return value

    @field_validator("fulfillment")
    @classmethod
    def _has_secrets(cls, value: str, info: ValidationInfo) -> str:
        if value == "confirmed" and not info.data.get("warehouse_secrets"):
            raise ValueError("confirmed needs COMMERCE_WAREHOUSE_SECRETS, which sign the warehouse's answers")
        return value

    @field_validator("confirm_address")
    @classmethod
    def _has_links(cls, value: str, info: ValidationInfo) -> str:
        if value == "on" and not info.data.get("link_keys"):
            raise ValueError("on needs COMMERCE_LINK_KEYS, which sign the links")
        return value

    @field_validator("review_above")
    @classmethod
    def _are_amounts(cls, value: str) -> str:
        parse_amounts(value)
        return value

    @field_validator("metrics_address")
    @classmethod
    def _is_address_and_port(cls, value: str) -> str:
        if not value:
            return value
        host, _, port = value.rpartition(":")
        try:
            ip_address(host.strip("[]"))
        except ValueError:
            host = ""
        if not (host and port.isdecimal() and 0 < int(port) <= MAX_PORT):
            raise ValueError("must be an IP address and a port, like 127.0.0.1:9464")
        return value

    @field_validator(
        *(
            "carrier_url",
            "payments_url",
            "warehouse_url",
            "alert_webhook_url",
            "link_url",
            "console_url",
            "temporal_ui_url",
            "traces_url",
        )
    )
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if value is not None and not _has_host(value):
            raise ValueError("is not a URL like https://host:8080/path")
        return value.rstrip("/") if value else value

    @field_validator("limit_starts", "limit_registrations", "limit_registrations_per_address", "limit_intake")
    @classmethod
    def _are_rates(cls, value: str) -> str:
        try:
            parse_rates(value)
        except ValueError:
            raise ValueError("must be rates like 30/second;600/minute, or off") from None
        return value

    @field_validator("event_prefix")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        if not EVENT_PREFIX.fullmatch(value):
            raise ValueError("must be words that each end with a dot, like com.shop.")
        return value

    @field_validator("event_source")
    @classmethod
    def _is_uri_reference(cls, value: str) -> str:
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ValueError("must be a URI or a path, like /durable-commerce")
        return value

    @field_validator("currency")
    @classmethod
    def _is_currency(cls, value: str) -> str:
        if not CURRENCY.fullmatch(value):
            raise ValueError("must be three capital letters, like GBP")
        return value

    @field_validator("ship_from_country")
    @classmethod
    def _is_country(cls, value: str) -> str:
        from commerce.countries import country_code  # takes long to load, and only a value that was set is checked

        if len(value) != 2 or country_code(value) != value:
            raise ValueError("must be an ISO 3166 code of two letters, like GB")
        return value

    @field_validator("locale")
    @classmethod
    def _is_english_locale(cls, value: str) -> str:
        from commerce.formats import Formats  # takes long to load, and only a value that was set is checked

        try:
            Formats(value)
        except ValueError:
            raise ValueError("must be an English locale, like en_GB or en_US") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("is not an IANA time zone, like Europe/London") from error
        return value

    @field_validator(
        "cron_cleanup_expired_carts",
        "cron_sync_inventory",
        "cron_process_pending_orders",
        "cron_collect_analytics_data",
        "cron_upkeep",
    )
    @classmethod
    def _is_cron(cls, value: str) -> str:
        return parse_cron(value)

    @property
    def shipping_rules(self) -> ShippingRules:
        """How orders are shipped."""
        return ShippingRules(self.pickup_methods or PICKUP_METHODS, self.no_method)

    @property
    def review_rules(self) -> ReviewRules:
        """Which orders wait until a person has reviewed them."""
        return ReviewRules(
            parse_amounts(self.review_above),
            risk=self.review_risk == "high",
            countries=self.review_countries == "differ",
        )

    @property
    def answer_links(self) -> AnswerLinks | None:
        """What makes and reads the links with which people answer steps, or None if they are off."""
        keys = [key.get_secret_value() for key in self.link_keys]
        return AnswerLinks(keys, self.public_url) if keys else None

    @property
    def public_url(self) -> str:
        """The URL of the API, as others reach it."""
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        return self.link_url or f"http://{host}:{self.api_port}"

    @property
    def pick_answer_url(self) -> str:
        """The URL at which the warehouse answers."""
        return f"{self.public_url}/intake/warehouse"

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the API."""
        try:
            return self.api_host == "localhost" or ip_address(self.api_host).is_loopback
        except ValueError:
            return False

    @property
    def warnings(self) -> list[str]:
        """What programs log when they start, because it is dangerous where others reach the shop."""
        return [UNPROVEN] if self.confirm_address == "off" and not self.is_local else []

    @property
    def address_digests(self) -> AddressDigests:
        """What makes the digests that stand for e-mail addresses."""
        return AddressDigests([key.get_secret_value() for key in self.address_keys])

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)


def parse_rates(value: str) -> list["RateLimitItem"]:
    """Parse rates such as `30/second;600/minute`, shortest period first; none for `off`. Raises ValueError."""
    from limits import parse_many  # takes long to load, and only the API needs it

    if value == "off":
        return []
    rates = sorted(parse_many(value))
    if any(rate.amount < 1 for rate in rates):
        raise ValueError(value)
    return rates


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def load_environment(data_dir: Path | None = None) -> dict[str, str]:
    """Return all variables from the environment, `.env` and the data folder's `stack.json`, in this precedence.

    Raises SettingsError.
    """
    environment: dict[str, str] = _read_dotenv() | dict(os.environ)
    folder = data_dir or Path(environment.get(f"{PREFIX}DATA_DIR", DEFAULT_DATA_DIR))
    stack: dict[str, str] = read_stack(folder).get("environment", {})
    return stack | environment | {f"{PREFIX}DATA_DIR": str(folder)}


def _read_dotenv() -> dict[str, str]:
    try:
        return {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}") from None


def read_stack(data_dir: Path) -> dict[str, Any]:
    """Return the content of `stack.json`, which a running embedded stack writes; empty if none runs there.

    Raises SettingsError.
    """
    try:
        stack: dict[str, Any] = dict(json.loads((data_dir / STACK_FILE).read_text()))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise SettingsError(f"{data_dir} is not a folder: set --data-dir or {PREFIX}DATA_DIR to one") from error
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{data_dir / STACK_FILE} cannot be read ({error}); restart `commerce up`") from error
    return stack


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings from the COMMERCE_ variables and the files they name; raises SettingsError."""
    from_files = _read_secret_files(environment)
    values = {
        name: environment[f"{PREFIX}{name.upper()}"]
        for name in Settings.model_fields
        if environment.get(f"{PREFIX}{name.upper()}", "") != ""
    }
    try:
        return Settings.model_validate(values | from_files)
    except ValidationError as error:
        raise SettingsError(_problems(error, from_files)[0]) from error


def check_settings(environment: Mapping[str, str]) -> list[str]:
    """Return all problems of the settings, each as one line that names the variable."""
    try:
        load_settings(environment)
    except SettingsError as error:
        cause = error.__cause__
        return _problems(cause, _read_secret_files(environment)) if isinstance(cause, ValidationError) else [str(error)]
    return []


def supported_variables() -> set[str]:
    """Return the names of all COMMERCE_ variables."""
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {
        f"{PREFIX}{name.upper()}_FILE" for name in FILE_SETTINGS
    }


def _problems(error: ValidationError, from_files: Mapping[str, str]) -> list[str]:
    found = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name, message = str(problem["loc"][0]), problem["msg"].removeprefix("Value error, ")
        found.append(f"{PREFIX}{name.upper()}{'_FILE' if name in from_files else ''}: {message}")
    return found


def _read_secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that files hold; a file takes precedence over the setting's own variable."""
    files = {name: environment.get(f"{PREFIX}{name.upper()}_FILE", "") for name in FILE_SETTINGS}
    return {name: _read_secret_file(name, Path(file)) for name, file in files.items() if file}


def _read_secret_file(name: str, file: Path) -> str:
    variable = f"{PREFIX}{name.upper()}_FILE"
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{variable}: {file} cannot be read: {reason}") from None
    if not text and name not in MAY_BE_EMPTY:
        raise SettingsError(f"{variable}: {file} is empty")
    return text
