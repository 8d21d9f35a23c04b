"""Everything that can be set, read once at start-up: environment, then `.env`, then the embedded `stack.json`."""

import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from commerce.cron import cron_line
from commerce.errors import SettingsError

PREFIX = "COMMERCE_"
STACK_FILE = "stack.json"
DEFAULT_DATA_DIR = Path(".commerce")
CURRENCY = re.compile(r"[A-Z]{3}")
EVENT_PREFIX = re.compile(r"([A-Za-z0-9-]+\.)+")
TOKEN_LENGTH = 16  # characters at least
LAST_PORT = 65_535
# What a file may hold instead of the variable: COMMERCE_<NAME>_FILE names it.
IN_FILES = ("database_url", "smtp_url", "carrier_api_key", "alert_webhook_url", "api_tokens")
ADDRESS = re.compile(r"[^\s@,<>]+@[^\s@,<>]+")  # whether mail can be brought there, only sending tells


class Settings(BaseSettings):
    """The shop's settings; each field is the environment variable COMMERCE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(DEFAULT_DATA_DIR, description="Folder of the embedded stack: its data, mails and stack.json")
    database_url: SecretStr = Field(
        SecretStr("postgresql://commerce@127.0.0.1:5432/commerce"), description="PostgreSQL of the shop"
    )
    smtp_url: SecretStr = Field(
        SecretStr("smtp://127.0.0.1:1025"),
        description="Mail server: smtp://, smtp+starttls:// or smtps://, with user:password@ where it asks for them",
    )
    mail_from: str = Field("Shop <shop@shop.example>", description="Sender of every mail")
    admin_emails: tuple[str, ...] = Field(
        (), description="Who is told when something needs a person, separated by commas"
    )
    carrier_url: str = Field("http://127.0.0.1:9010/v2", description="Root of an EasyPost-shaped shipments API")
    carrier_api_key: SecretStr = Field(SecretStr("test"), description="Key for that API")
    warehouse_url: str = Field("http://127.0.0.1:9020", description="Root of the warehouse's API")
    ship_from_name: str = Field("Shop", description="Sender on a label: name")
    ship_from_street1: str = Field("1 Warehouse Way", description="Sender on a label: street")
    ship_from_city: str = Field("London", description="Sender on a label: city")
    ship_from_zip: str = Field("N1 9GU", description="Sender on a label: postal code")
    ship_from_state: str = Field("", description="Sender on a label: state or province")
    ship_from_country: str = Field("GB", description="Sender on a label: ISO country code")
    ship_from_phone: str = Field("", description="Sender on a label: telephone")
    parcel_length: float = Field(10, gt=0, description="Parcel on a label: length in inches")
    parcel_width: float = Field(8, gt=0, description="Parcel on a label: width in inches")
    parcel_height: float = Field(4, gt=0, description="Parcel on a label: height in inches")
    parcel_weight: float = Field(16, gt=0, description="Parcel on a label: weight in ounces")
    alert_webhook_url: str | None = Field(None, description="Where alerts are posted as JSON, besides the mail")
    event_prefix: str = Field("com.shop.", description="What the types of our events begin with outside")
    event_source: str = Field("/durable-commerce", description="Where our events come from, as CloudEvents tell it")
    webhook_private: Literal["refuse", "allow"] = Field(
        "refuse", description="Whether webhooks may lead to private addresses"
    )
    timezone: str = Field("UTC", description="The shop's calendar: an IANA time zone")
    currency: str = Field("GBP", description="Currency where an order says none")
    locale: str = Field(
        "en_GB", description="How mails write amounts and dates: an English locale, like en_US; texts stay English"
    )
    schedules: Literal["on", "off"] = Field(
        "on", description="Whether a worker that starts brings Temporal's schedules up to date"
    )
    cron_cleanup_expired_carts: str = Field("0 2 * * *", description="When abandoned carts are deleted")
    cron_sync_inventory: str = Field("0 */6 * * *", description="When stock is taken over from the warehouse")
    cron_process_pending_orders: str = Field("*/15 * * * *", description="When orders left over are processed")
    cron_collect_analytics_data: str = Field("0 1 * * *", description="When the day before is counted")
    cron_upkeep: str = Field("30 3 * * *", description="When records past their retention are thrown away")
    keep_ledger_days: int = Field(
        45, ge=1, le=3_650, description="Days that steps of ended processes are kept: 7 more than Temporal keeps runs"
    )
    keep_events_days: int = Field(30, ge=1, le=3_650, description="Days that published events are kept")
    keep_notifications_days: int = Field(400, ge=1, le=3_650, description="Days that mails and alerts are kept")
    log_format: Literal["console", "json"] = Field("console", description="How logs are written")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged at least")
    worker_activities: int = Field(20, ge=1, le=500, description="Steps at work at once in one worker")
    metrics_address: str = Field(
        "", description="Where a worker serves its metrics to Prometheus, like 127.0.0.1:9464; nowhere when empty"
    )
    traces_url: str | None = Field(
        None, description="Where traces go by OTLP over HTTP, like http://127.0.0.1:4318/v1/traces; nowhere when empty"
    )
    traces_sampled: float = Field(0.1, ge=0, le=1, description="The part of all traces that is kept")
    api_host: str = Field("127.0.0.1", description="Address the API listens on")
    api_port: int = Field(9000, ge=0, le=LAST_PORT, description="Port the API listens on")
    api_tokens: tuple[SecretStr, ...] = Field(
        (), description="Who sends one of these as a bearer token may use the API, separated by commas"
    )
    encryption: Literal["on", "off"] = Field("on", description="Whether what Temporal stores is encrypted")
    encryption_keys: SecretStr = Field(
        SecretStr(""), description="Keys for that, newest first, separated by commas or blanks"
    )
    encryption_keys_file: Path | None = Field(None, description="File with these keys, one per line, newest first")
    temporal_ui_url: str = Field(
        "http://localhost:8233", description="Temporal's UI: pages from there may have payloads decrypted"
    )

    @field_validator("admin_emails", "api_tokens", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in re.split(r"[,\n]", value) if part.strip())

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgresql+asyncpg://")):
            raise ValueError("must start with postgresql://")
        from sqlalchemy import make_url  # takes longer to load than `--help` to show
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(value.get_secret_value())
        except (ValueError, ArgumentError):
            # `from None`: what SQLAlchemy says may hold the password.
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
    def _are_long(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(token) < TOKEN_LENGTH for token in value):
            raise ValueError(f"each must have at least {TOKEN_LENGTH} characters")
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
        if not (host and port.isdecimal() and 0 < int(port) <= LAST_PORT):
            raise ValueError("must be an IP address and a port, like 127.0.0.1:9464")
        return value

    @field_validator("carrier_url", "warehouse_url", "alert_webhook_url", "temporal_ui_url", "traces_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if value is not None and not _names_a_host(value):
            raise ValueError("is not a URL like https://host:8080/path")
        return value.rstrip("/") if value else value

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
        return cron_line(value)

    @property
    def zone(self) -> ZoneInfo:
        """The shop's time zone."""
        return ZoneInfo(self.timezone)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `load_settings` alone, so that nothing but start-up reads the environment."""
        return (init_settings,)


def _names_a_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def load_environment(data_dir: Path | None = None) -> dict[str, str]:
    """Return every variable, the strongest source winning: environment, `.env`, `stack.json` of the data folder."""
    own: dict[str, str] = _dotenv() | dict(os.environ)
    folder = data_dir or Path(own.get(f"{PREFIX}DATA_DIR", DEFAULT_DATA_DIR))
    stack: dict[str, str] = read_stack(folder).get("environment", {})
    return stack | own | {f"{PREFIX}DATA_DIR": str(folder)}


def _dotenv() -> dict[str, str]:
    try:
        return {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None


def read_stack(data_dir: Path) -> dict[str, Any]:
    """Return what the running embedded stack says of itself; empty when none runs there."""
    try:
        stack: dict[str, Any] = dict(json.loads((data_dir / STACK_FILE).read_text()))
    except FileNotFoundError:
        return {}
    except NotADirectoryError as error:
        raise SettingsError(f"{data_dir} is not a folder: --data-dir and {PREFIX}DATA_DIR take one") from error
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{data_dir / STACK_FILE} cannot be read ({error}); stop and start `commerce up`"
        ) from error
    return stack


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Check the COMMERCE_ variables of this environment, and the files they name; raises SettingsError."""
    in_files = _in_files(environment)
    values = {
        name: environment[f"{PREFIX}{name.upper()}"]
        for name in Settings.model_fields
        if environment.get(f"{PREFIX}{name.upper()}", "") != ""
    }
    try:
        return Settings.model_validate(values | in_files)
    except ValidationError as error:
        raise SettingsError(_problems(error, in_files)[0]) from error


def check_settings(environment: Mapping[str, str]) -> list[str]:
    """Return everything that `load_settings` would not take, each as one line that names the variable."""
    try:
        load_settings(environment)
    except SettingsError as error:
        cause = error.__cause__
        return _problems(cause, _in_files(environment)) if isinstance(cause, ValidationError) else [str(error)]
    return []


def supported_variables() -> set[str]:
    """Return the names of all variables that mean something to us."""
    return {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {
        f"{PREFIX}{name.upper()}_FILE" for name in IN_FILES
    }


def _problems(error: ValidationError, in_files: Mapping[str, str]) -> list[str]:
    found = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name, message = str(problem["loc"][0]), problem["msg"].removeprefix("Value error, ")
        found.append(f"{PREFIX}{name.upper()}{'_FILE' if name in in_files else ''}: {message}")
    return found


def _in_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets that files hold, which go before variables: a file is named only on purpose."""
    named = {name: environment.get(f"{PREFIX}{name.upper()}_FILE", "") for name in IN_FILES}
    return {name: _secret(name, Path(file)) for name, file in named.items() if file}


def _secret(name: str, file: Path) -> str:
    variable = f"{PREFIX}{name.upper()}_FILE"
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{variable}: {file} cannot be read: {reason}") from None
    if not text:
        raise SettingsError(f"{variable}: {file} is empty")
    return text
