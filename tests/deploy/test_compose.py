"""docker-compose.yml is valid and consistent: schema, variables, files, networks, ports, start order."""

import importlib.util
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

import worker
from commerce.database import POOL
from commerce.settings import FILE_SETTINGS, PREFIX, Settings, load_settings
from starter.cli.app import app
from starter.connection.encryption import Encryption
from starter.operate.ledger_retention import EXTRA_DAYS
from tests.deploy.binary import contains, server_variables, versions
from tests.deploy.compose import EXAMPLE, FILE, Json, MissingVariable, compose, environment, is_job, is_ours, services
from tests.paths import ROOT
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

SERVICES = services()
DOCKERFILE = ROOT / "Dockerfile"
each = pytest.mark.parametrize("name", SERVICES)
SECRETS = "/run/secrets/"
# Published ports, all of them on loopback.
PUBLISHED = {"api": 9000, "ui": 8080, "grafana": 3000}
# Images without a tool for a health check: Prometheus checks them from outside.
CHECKED_BY_PROMETHEUS = {"otel-collector", "jaeger"}
# https://github.com/temporalio/ui/blob/main/server/config/docker.yaml
UI_VARIABLES = {
    "TEMPORAL_ADDRESS",
    "TEMPORAL_DEFAULT_NAMESPACE",
    "TEMPORAL_CORS_ORIGINS",
    "TEMPORAL_NOTIFY_ON_NEW_VERSION",
    "TEMPORAL_CSRF_COOKIE_INSECURE",
    "TEMPORAL_CODEC_ENDPOINT",
    "TEMPORAL_CODEC_INCLUDE_CREDENTIALS",
}
# https://github.com/temporalio/temporal/blob/main/tools/sql/main.go
SQL_TOOL_VARIABLES = {"SQL_PLUGIN", "SQL_HOST", "SQL_PORT", "SQL_USER"}

SECRETS_OF_SHOPS = {"shopify_secrets", "woocommerce_secrets"}
SECRETS_OF = {
    "postgres": {"postgres_password"},
    "databases": {"postgres_password", "commerce_password", "migrator_password", "temporal_password"},
    "temporal-schema": {"temporal_password"},
    "temporal": {"temporal_password"},
    "migrate": {"database_url", "migration_database_url"},
    "worker": {
        "database_url",
        "smtp_url",
        "carrier_api_key",
        "payments_api_key",
        "warehouse_secrets",
        "link_keys",
        "address_keys",
        "encryption_keys",
    },
    "api": {
        *("database_url", "api_tokens", "warehouse_secrets", "link_keys", "address_keys", "encryption_keys"),
        *SECRETS_OF_SHOPS,
    },
    "cli": {
        *("database_url", "smtp_url", "carrier_api_key", "payments_api_key", "api_tokens", "link_keys"),
        *("address_keys", "encryption_keys", "warehouse_secrets"),
        *SECRETS_OF_SHOPS,
    },
    "warehouse": {"database_url", "warehouse_secrets"},
    "grafana": {"grafana_password"},
}


def yml(path: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / path).read_text())


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that deploy/make-secrets creates."""
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    subprocess.run([ROOT / "deploy" / "make-secrets", folder], check=True, capture_output=True)
    return folder


def test_it_is_a_valid_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["COMMERCE_CARRIER_URL", "COMMERCE_WAREHOUSE_URL"])
def test_without_an_env_file_the_error_says_what_to_do(name: str) -> None:
    with pytest.raises(MissingVariable, match=rf"{name} is not set - cp deploy/env.example .env"):
        services({key: value for key, value in EXAMPLE.items() if key != name})


def test_the_example_sets_existing_variables() -> None:
    ours = {name for name in EXAMPLE if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in ours} <= set(Settings.model_fields)
    assert set(EXAMPLE) - ours <= {"COMPOSE_PROFILES", *re.findall(r"\$\{(\w+)", FILE.read_text())}


def test_our_variables_are_valid_settings(secrets: Path) -> None:
    files = {f"{name}_file" for name in FILE_SETTINGS}
    for name, service in SERVICES.items():
        own = {key: value for key, value in environment(service).items() if key.startswith(PREFIX)}
        assert bool(own) == is_ours(service), name
        assert {key.removeprefix(PREFIX).lower() for key in own} <= set(Settings.model_fields) | files, name
        mounted = {key: value.replace(SECRETS, f"{secrets}/") for key, value in own.items()}
        settings = load_settings(EXAMPLE | mounted)
        if name == "cli":
            assert Encryption.from_settings(settings).encrypts
            assert settings.api_tokens
            assert settings.database_url.get_secret_value().startswith("postgresql://commerce:")
            assert settings.smtp_url.get_secret_value() == "smtp://mailpit:1025"
        migrates = settings.migration_database_url
        assert bool(migrates) == (name == "migrate")
        assert not migrates or migrates.get_secret_value().startswith("postgresql://commerce_migrator:")


@each
def test_a_service_gets_only_the_secrets_that_it_uses(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) == SECRETS_OF.get(name, set())
    files = {value.removeprefix(SECRETS) for value in environment(service).values() if value.startswith(SECRETS)}
    if name in {"databases", "temporal", "temporal-schema"}:  # their scripts know the files
        assert not files
    else:
        assert files == SECRETS_OF.get(name, set())


def test_an_env_file_cannot_change_fixed_addresses() -> None:
    in_image = dict(re.findall(r"(COMMERCE_(?:API_HOST|DATA_DIR|METRICS_ADDRESS))=(\S+)", DOCKERFILE.read_text()))
    assert len(in_image) == 3
    fixed = in_image | {"COMMERCE_API_PORT": str(PUBLISHED["api"]), "COMMERCE_ENCRYPTION_KEYS": ""}
    assert {name: environment(SERVICES["api"])[name] for name in fixed} == fixed


def test_the_doctor_finds_the_api() -> None:
    override = {"COMMERCE_API_HOST": "api"}
    assert set(override.values()) <= set(SERVICES)
    assert (
        environment(SERVICES["api"]).items()
        <= (environment(SERVICES["cli"]) | {"COMMERCE_API_HOST": "0.0.0.0"}).items()
    )
    assert override.items() <= environment(SERVICES["cli"]).items()


def test_temporals_variables_are_known() -> None:
    assert {"NUM_HISTORY_SHARDS", "DB", "POSTGRES_PWD"} <= server_variables()
    assert set(environment(SERVICES["temporal"])) - {"TZ"} <= server_variables()
    assert set(environment(SERVICES["ui"])) == UI_VARIABLES
    assert set(environment(SERVICES["temporal-schema"])) == SQL_TOOL_VARIABLES


def test_there_are_512_history_shards() -> None:
    assert environment(SERVICES["temporal"])["NUM_HISTORY_SHARDS"] == "512"


def test_temporal_has_the_version_of_the_tests() -> None:
    assert SERVICES["temporal"]["image"] == f"temporalio/server:{versions()['Server']}"
    assert SERVICES["ui"]["image"] == f"temporalio/ui:{versions()['UI']}"
    tools = {SERVICES[name]["image"] for name in ("temporal-schema", "temporal-namespace")}
    assert tools == {f"temporalio/admin-tools:{versions()['Server']}"}


def test_keys_of_the_dynamic_configuration_are_known() -> None:
    keys = yml("temporal/dynamic-config.yaml")
    assert keys
    assert [key for key in keys if not contains(key)] == []
    assert not contains("limit.noSuchKeyAsThis")


def test_the_ui_knows_the_codec_and_the_codec_allows_the_ui() -> None:
    ui, api = environment(SERVICES["ui"]), environment(SERVICES["api"])
    assert ui["TEMPORAL_CODEC_ENDPOINT"] == f"http://localhost:{PUBLISHED['api']}/codec/{api['TEMPORAL_NAMESPACE']}"
    assert api["COMMERCE_TEMPORAL_UI_URL"] == f"http://localhost:{PUBLISHED['ui']}"


@each
def test_volumes_secrets_networks_and_scripts_exist(name: str) -> None:
    whole, service = compose(), SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        known = (ROOT / source).exists() if source.startswith("./") else source in whole["volumes"]
        assert known, source
    assert set(service.get("secrets", [])) <= set(whole["secrets"])
    assert set(service["networks"]) <= set(whole["networks"])
    [mounted] = [volume.split(":")[0] for volume in service.get("volumes", []) if ":/deploy:" in volume] or ["."]
    for word in (*service.get("entrypoint", []), *service.get("command", [])):
        if word.startswith("/deploy/"):
            assert (ROOT / mounted / Path(word).name).exists()


def test_each_secret_is_created_and_used(secrets: Path) -> None:
    declared = {name: value["file"] for name, value in compose()["secrets"].items()}
    assert declared == {name: f"./secrets/{name}" for name in declared}
    assert set(declared) == {path.name for path in secrets.iterdir()}
    assert set(declared) == {name for service in SERVICES.values() for name in service.get("secrets", [])}
    text = FILE.read_text() + "".join(path.read_text() for path in (ROOT / "deploy").rglob("*.sh"))
    assert {path.removeprefix(SECRETS) for path in re.findall(rf"{SECRETS}\w+", text)} <= set(declared)


def test_our_commands_exist() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for service in filter(is_ours, SERVICES.values()):
        if entrypoint := service.get("entrypoint"):
            assert entrypoint[:2] == ["python", "-m"]
            assert importlib.util.find_spec(entrypoint[2])
        else:
            assert service["command"][0] in {*group.commands, "--help"}


def test_our_image_is_built_once_and_never_pulled() -> None:
    ours = {name: service for name, service in SERVICES.items() if is_ours(service)}
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert {service["pull_policy"] for service in ours.values()} == {"never"}
    assert len({service["image"] for service in ours.values()}) == 1


def test_only_three_ports_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"127.0.0.1:{port}:{port}"] for name, port in PUBLISHED.items()}
    assert compose()["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    assert outside == {*PUBLISHED, "worker", "migrate", "cli", "mailpit"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: apt install prometheus)")
def test_promtool_accepts_the_configuration() -> None:
    command = ["promtool", "check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_a_service_is_pinned_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+(\.\d+)?$", service["image"])
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] in {"unless-stopped", "on-failure:5", "no"}
    if is_ours(service):
        assert service["read_only"]
        assert service["tmpfs"]


@each
def test_long_running_services_have_a_health_check(name: str) -> None:
    service = SERVICES[name]
    targets = {str(job) for job in yml("prometheus/prometheus.yml")["scrape_configs"]}
    if is_job(service):
        assert service.get("healthcheck", {"disable": True}) == {"disable": True}
    elif name in CHECKED_BY_PROMETHEUS:
        assert any(f"'{name}:" in job for job in targets)
    else:  # our image has its own check, see tests/system/test_image.py
        assert is_ours(service) or service["healthcheck"]["test"][0] == "CMD"


def test_services_wait_for_jobs_to_complete_and_servers_to_be_healthy() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            ended = "service_completed_successfully" if is_job(SERVICES[other]) else "service_healthy"
            assert how == {"condition": ended}
            assert SERVICES[other].get("profiles", []) in ([], service.get("profiles", []))


def test_the_ui_has_no_login_and_grafana_has_a_password() -> None:
    grafana = environment(SERVICES["grafana"])
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"] == f"{SECRETS}grafana_password"
    assert (grafana["GF_AUTH_ANONYMOUS_ENABLED"], grafana["GF_USERS_ALLOW_SIGN_UP"]) == ("false", "false")
    assert not [name for name in environment(SERVICES["ui"]) if name.startswith("TEMPORAL_AUTH")]


def test_no_service_asks_the_internet_for_versions_or_plugins() -> None:
    grafana = environment(SERVICES["grafana"])
    names = ("REPORTING_ENABLED", "CHECK_FOR_UPDATES", "CHECK_FOR_PLUGIN_UPDATES")
    assert {grafana[f"GF_ANALYTICS_{name}"] for name in names} == {"false"}
    assert grafana["GF_PLUGINS_PREINSTALL_AUTO_UPDATE"] == "false"
    assert environment(SERVICES["ui"])["TEMPORAL_NOTIFY_ON_NEW_VERSION"] == "false"


def test_each_job_is_waited_for() -> None:
    """Otherwise `docker compose up --wait` takes its exit for a failure."""
    awaited = {other for service in SERVICES.values() for other in service.get("depends_on", {})}
    assert {name for name, service in SERVICES.items() if is_job(service)} - awaited == {"cli"}


def test_the_start_order_is_the_documented_one() -> None:
    assert list(_before("worker")) == [
        *("postgres", "databases", "temporal-schema", "temporal", "temporal-namespace", "migrate")
    ]
    assert set(_before("api")) == set(_before("worker"))


def _before(name: str) -> dict[str, None]:
    """Return the services that must be up before this one, in order; a cycle would never end."""
    order: dict[str, None] = {}
    for other in sorted(SERVICES[name].get("depends_on", {}), key=lambda other: other == "migrate"):
        order |= _before(other) | {other: None}
    return order


def test_a_worker_has_enough_time_to_stop() -> None:
    assert _seconds(SERVICES["worker"]["stop_grace_period"]) > worker.HARD_EXIT_SECONDS
    unit = (ROOT / "deploy" / "systemd" / "durable-commerce-worker@.service").read_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > worker.HARD_EXIT_SECONDS


def _seconds(period: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([sm])", period).groups()
    return timedelta(**{{"s": "seconds", "m": "minutes"}[unit]: int(number)}).total_seconds()


def test_postgres_allows_enough_connections() -> None:
    settings = Settings()
    temporal = 4 * (20 + 10)  # the defaults of SQL_MAX_CONNS and SQL_VIS_MAX_CONNS, for each of its services
    ours = int(SERVICES["worker"]["deploy"]["replicas"]) * (settings.worker_activities + 4) + POOL + 1
    most = next(word for word in SERVICES["postgres"]["command"] if word.startswith("max_connections="))
    assert temporal + ours + 20 <= int(most.partition("=")[2])


def test_the_namespace_has_what_the_worker_requires() -> None:
    script = (ROOT / "deploy" / "temporal" / "namespace.sh").read_text()
    (attributes,) = re.findall(r"^attributes='(.+)'$", script, re.MULTILINE)
    assert dict.fromkeys(attributes.split(), "Keyword") == SEARCH_ATTRIBUTES
    kept = int(environment(SERVICES["temporal-namespace"])["RETENTION"].removesuffix("d"))
    assert kept + EXTRA_DAYS <= Settings().keep_ledger_days


def test_prometheus_scrapes_existing_services() -> None:
    config: Json = yml("prometheus/prometheus.yml")
    assert config["rule_files"] == ["alerts.yml"]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for name, port in (("worker", 9464), ("api", 9000)):
        (found,) = jobs[name]["dns_sd_configs"]
        assert (found["names"], found["port"]) == ([name], port)
    for job in jobs.values():
        for target in (target for group in job.get("static_configs", []) for target in group["targets"]):
            assert target.partition(":")[0] in SERVICES
    assert environment(SERVICES["temporal"])["PROMETHEUS_ENDPOINT"].endswith(":9090")


def test_grafana_has_data_sources_and_dashboards() -> None:
    sources = yml("grafana/provisioning/datasources/datasources.yml")["datasources"]
    assert [source["uid"] for source in sources] == ["prometheus", "jaeger"]
    assert all(re.fullmatch(r"http://(\w+):\d+", source["url"])[1] in SERVICES for source in sources)
    (provider,) = yml("grafana/provisioning/dashboards/dashboards.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    home = environment(SERVICES["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy" / "grafana" / "dashboards" / Path(home).name).exists()


def test_the_collector_uses_what_it_defines() -> None:
    config = yml("otel/collector.yml")
    (pipeline,) = config["service"]["pipelines"].values()
    for kind, names in pipeline.items():
        assert set(names) == set(config[kind])
    assert config["exporters"]["otlp_grpc"]["endpoint"].partition(":")[0] in SERVICES
    port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert f"http://otel-collector:{port}/v1/traces" in (ROOT / "deploy" / "env.example").read_text()
