"""Settings: precedence of sources, errors of wrong values, and the documentation of every setting."""

import json
import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from temporalio.envconfig import ClientConfig

from commerce.errors import SettingsError
from commerce.settings import PREFIX, Settings, load_environment, load_settings
from tests.paths import ROOT

DOCUMENT = ROOT / "docs" / "configuration.md"
NO_DEFAULT = "–"


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATABASE_URL", "mysql://ann:secret@db/shop", "must start with postgresql://"),
        ("DATABASE_URL", "postgresql://ann:secret@db:port/shop", "is not a URL like postgresql://"),
        ("DATABASE_URL", "postgresql://ann:secret@[::1/shop", "is not a URL like postgresql://"),
        ("MIGRATION_DATABASE_URL", "mysql://ann:secret@db/shop", "must start with postgresql://"),
        ("SMTP_URL", "http://ann:secret@mail", "must start with smtp://, smtp+starttls:// or smtps://"),
        ("ADMIN_EMAILS", "ann@shop.example, nobody", "must be addresses separated by commas"),
        ("SMTP_URL", "mail.example", "must start with smtp://, smtp+starttls:// or smtps://"),
        *[
            (name, value, "contains only separators: set a value, or leave it empty")
            for name in ("API_TOKENS", "ADMIN_EMAILS")
            for value in (",", " ", " , ,", "\n")
        ],
        ("CARRIER_URL", "carrier.example", "must start with http:// or https://"),
        ("ALERT_WEBHOOK_URL", "ftp://hooks.example", "must start with http:// or https://"),
        ("TIMEZONE", "Mars/Olympus", "is not an IANA time zone, like Europe/London"),
        ("CURRENCY", "pounds", "must be three capital letters, like GBP"),
        ("SHIP_FROM_COUNTRY", "England", "must be an ISO 3166 code of two letters, like GB"),
        ("SHIP_FROM_COUNTRY", "Channel Islands", "must be an ISO 3166 code of two letters, like GB"),
        ("SHIP_FROM_COUNTRY", "ZZ", "must be an ISO 3166 code of two letters, like GB"),
        ("LOCALE", "de_DE", "must be an English locale, like en_GB or en_US"),
        ("LOG_FORMAT", "xml", "Input should be 'console' or 'json'"),
        ("LOG_LEVEL", "loud", "Input should be 'debug', 'info', 'warning' or 'error'"),
        ("WORKER_ACTIVITIES", "many", "Input should be a valid integer"),
        ("WORKER_ACTIVITIES", "0", "Input should be greater than or equal to 1"),
        ("PARCEL_WEIGHT", "0", "Input should be greater than 0"),
        ("METRICS_ADDRESS", "localhost:9464", "must be an IP address and a port, like 127.0.0.1:9464"),
        ("METRICS_ADDRESS", "127.0.0.1:0", "must be an IP address and a port, like 127.0.0.1:9464"),
        ("TRACES_URL", "collector:4318", "must start with http:// or https://"),
        ("TRACES_SAMPLED", "2", "Input should be less than or equal to 1"),
        ("LIMIT_STARTS", "many", "must be rates like 30/second;600/minute, or off"),
        ("LIMIT_REGISTRATIONS", "0/minute", "must be rates like 30/second;600/minute, or off"),
        ("API_PORT", "65536", "Input should be less than or equal to 65535"),
    ],
)
def test_the_error_of_a_wrong_value_is_one_line_that_names_the_variable(name: str, value: str, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_settings({f"COMMERCE_{name}": value})
    message = str(error.value)
    assert message.startswith(f"COMMERCE_{name}: {problem}")
    assert "\n" not in message and value not in message.removeprefix(f"COMMERCE_{name}: {problem}")


def test_every_setting_has_a_default() -> None:
    assert load_settings({}) == Settings()


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load_settings({"COMMERCE_TIMEZONE": "", "COMMERCE_ALERT_WEBHOOK_URL": ""}) == Settings()


def test_lists_are_separated_by_commas_and_urls_lose_their_trailing_slash() -> None:
    settings = load_settings(
        {"COMMERCE_ADMIN_EMAILS": "a@shop.example, b@shop.example,", "COMMERCE_CARRIER_URL": "https://carrier/v2/"}
    )
    assert settings.admin_emails == ("a@shop.example", "b@shop.example")
    assert settings.carrier_url == "https://carrier/v2"


def test_secrets_are_not_in_the_repr() -> None:
    settings = load_settings({"COMMERCE_DATABASE_URL": "postgresql://ann:hidden-word@db/shop"})
    assert "hidden-word" not in repr(settings)
    assert settings.database_url.get_secret_value() == "postgresql://ann:hidden-word@db/shop"


def test_a_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    url, tokens = tmp_path / "database-url", tmp_path / "tokens"
    url.write_text("postgresql://ann:secret@db/shop\n")
    tokens.write_text("a-token-of-the-shop\nanother-token-of-it\n")
    settings = load_settings(
        {
            "COMMERCE_DATABASE_URL": "postgresql://somewhere-else/shop",
            "COMMERCE_DATABASE_URL_FILE": str(url),
            "COMMERCE_API_TOKENS_FILE": str(tokens),
        }
    )
    assert settings.database_url.get_secret_value() == "postgresql://ann:secret@db/shop"
    assert [token.get_secret_value() for token in settings.api_tokens] == ["a-token-of-the-shop", "another-token-of-it"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "{file} cannot be read: No such file or directory"),
        ("\n", "{file} is empty"),
        ("mysql://ann:secret@db/shop", "must start with postgresql://"),
    ],
)
def test_the_error_of_a_wrong_file_does_not_show_its_content(tmp_path: Path, content: str | None, problem: str) -> None:
    file = tmp_path / "database-url"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError) as error:
        load_settings({"COMMERCE_DATABASE_URL_FILE": str(file)})
    assert str(error.value) == f"COMMERCE_DATABASE_URL_FILE: {problem.format(file=file)}"


@pytest.mark.parametrize("platform", ["shopify", "woocommerce"])
def test_an_empty_file_of_secrets_turns_the_route_of_a_platform_off(tmp_path: Path, platform: str) -> None:
    file = tmp_path / "secrets"
    file.write_text("\n")
    variable = f"COMMERCE_{platform.upper()}_SECRETS"
    settings = load_settings({variable: "a-secret-of-the-environment", f"{variable}_FILE": str(file)})
    assert getattr(settings, f"{platform}_secrets") == ()


def test_an_empty_file_of_tokens_does_not_open_the_api(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        load_settings({"COMMERCE_API_TOKENS_FILE": str(file)})


def test_settings_do_not_read_the_environment_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_TIMEZONE", "Europe/London")
    assert Settings().timezone == "UTC"


def test_the_environment_precedes_the_dotenv_file_which_precedes_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA_DIR", "CURRENCY", "TIMEZONE", "MAIL_FROM"):
        monkeypatch.delenv(f"COMMERCE_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    variables = ("COMMERCE_CURRENCY", "COMMERCE_TIMEZONE", "COMMERCE_MAIL_FROM")
    stack = {"environment": dict(zip(variables, ("SEK", "Europe/Stockholm", "stack@shop.example"), strict=True))}
    (tmp_path / "data" / "stack.json").write_text(json.dumps(stack))
    (tmp_path / ".env").write_text(
        "COMMERCE_DATA_DIR=data\nCOMMERCE_CURRENCY=EUR\nCOMMERCE_TIMEZONE=Europe/Berlin\nTEMPORAL_NAMESPACE=shop\n"
    )
    monkeypatch.setenv("COMMERCE_CURRENCY", "USD")

    environment = load_environment()
    settings = load_settings(environment)
    assert settings.currency == "USD"
    assert settings.timezone == "Europe/Berlin"
    assert settings.mail_from == "stack@shop.example"
    assert settings.data_dir == Path("data")
    assert environment["TEMPORAL_NAMESPACE"] == "shop"


def test_a_given_data_folder_precedes_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_DATA_DIR", "elsewhere")
    assert load_settings(load_environment(tmp_path)).data_dir == tmp_path


def test_the_error_of_a_broken_stack_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(SettingsError, match=r"stack\.json cannot be read .*; restart `commerce up`$") as error:
        load_environment(tmp_path)
    assert "\n" not in str(error.value)


def test_every_setting_is_documented() -> None:
    expected = [row(name) for name in Settings.model_fields]
    documented = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{PREFIX}")]
    assert documented == expected, "Write these rows into docs/configuration.md:\n" + "\n".join(expected)


def row(name: str) -> str:
    """Return the row of a setting: variable, default, description and choices, if any."""
    field = Settings.model_fields[name]
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    meaning = f"{field.description}" + (f": {', '.join(f'`{choice}`' for choice in choices)}" if choices else "")
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    default = ", ".join(default) if isinstance(default, tuple) else default
    shown = NO_DEFAULT if default in (None, (), "") else f"`{default}`"
    return f"| `{PREFIX}{name.upper()}` | {shown} | {meaning} |"


def test_documented_variables_of_temporal_have_an_effect(tmp_path: Path) -> None:
    documented = re.findall(r"^\| `(TEMPORAL_[A-Z_]+)", DOCUMENT.read_text(), re.MULTILINE)
    file, profiles = tmp_path / "file", tmp_path / "profiles.toml"
    file.write_text("x")
    profiles.write_text('[profile.default]\naddress = "one:1"\n[profile.x]\naddress = "two:1"\n')
    empty = {"TEMPORAL_CONFIG_FILE": str(tmp_path / "none.toml")}
    assert len(documented) > 10
    for name in documented:
        before = {"TEMPORAL_CONFIG_FILE": str(profiles)} if name == "TEMPORAL_PROFILE" else empty
        value = {"CONFIG_FILE": str(profiles), "TLS": "true"}.get(
            name.removeprefix("TEMPORAL_"), str(file) if name.endswith("_PATH") else "x"
        )
        assert connection(before | {name + "X" * name.endswith("_"): value}) != connection(before), name


def connection(environment: dict[str, str]) -> object:
    return ClientConfig.load_client_connect_config(override_env_vars=environment)


def test_the_api_has_a_url_on_ipv6_too() -> None:
    assert load_settings({"COMMERCE_API_HOST": "::1", "COMMERCE_API_PORT": "9001"}).public_url == "http://[::1]:9001"
