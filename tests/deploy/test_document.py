"""docs/deployment.md and docs/operations.md agree with the compose file and the scripts."""

import csv
import re
from pathlib import Path

import typer
from typer.core import TyperGroup

from starter.cli.app import app
from starter.demo.sample_shop import write_sample_shop
from tests.deploy.compose import FILE, compose
from tests.documents import commands
from tests.paths import ROOT

PAGE = ROOT / "docs" / "deployment.md"
OPERATIONS = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text()
COMPOSE = compose()
SECRET = re.compile(r"\bsecrets/(\w+)")
SERVICE = re.compile(r"docker\scompose\s(?:exec|run\s--rm)(?:\s(?:--no-deps|-T|-v\s\S+|--entrypoint\s\w+))*\s([\w-]+)")


def test_files_on_the_page_exist() -> None:
    names = set(re.findall(r"\bdeploy/[\w./@-]*\w", TEXT))
    assert names
    assert [path for path in sorted(names) if not (ROOT / path).exists()] == []


def test_secrets_profiles_and_volumes_agree_with_compose() -> None:
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", TEXT, re.MULTILINE))))
    assert table == set(COMPOSE["secrets"])
    assert set(SECRET.findall(TEXT)) <= set(COMPOSE["secrets"])
    profiles = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])}
    assert set(re.findall(r"profile (\w+):", TEXT)) == profiles - {"cli"}
    assert {name.partition("_")[2] for name in re.findall(r"durable-commerce_\w+", TEXT)} <= set(COMPOSE["volumes"])
    assert set(re.findall(r"SHOP_\w+", TEXT)) <= set(re.findall(r"SHOP_\w+", FILE.read_text()))


def test_commands_and_services_on_the_pages_exist() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    runs = [line for line in commands(PAGE) if line.startswith("docker compose run")]
    in_cli = re.findall(r"cli (\w+)", "\n".join(runs))
    assert in_cli
    assert set(in_cli) <= set(group.commands)
    assert set(SERVICE.findall(TEXT)) == {"cli", "mailpit", "postgres", "migrate"}
    assert set(SERVICE.findall(OPERATIONS.read_text())) == {"cli", "postgres", "temporal-namespace"}
    assert {*SERVICE.findall(TEXT), *SERVICE.findall(OPERATIONS.read_text())} <= set(COMPOSE["services"])


def test_the_first_order_is_a_sample_order_that_is_fulfilled(tmp_path: Path) -> None:
    example = write_sample_shop(tmp_path)
    assert {file.name for file in (example.inventory, example.orders)} <= set(re.findall(r"/in/(\S+)", TEXT))
    ids = set(re.findall(r'"order_id": "(\w+)"', TEXT))
    assert {example.expected[order_id] for order_id in ids} == {"fulfilled"}
    assert not ids & set(example.cases.values())
    with example.orders.open(newline="") as file:
        addresses = [row["Email"] for row in csv.DictReader(file) if row["Id"] in ids and row["Paid at"]]
    assert addresses and all(addresses)  # it gets a mail


def test_ports_on_the_page_are_published() -> None:
    published = {port.split(":")[1] for service in COMPOSE["services"].values() for port in service.get("ports", [])}
    assert set(re.findall(r"http://localhost:(\d+)", TEXT)) <= published
