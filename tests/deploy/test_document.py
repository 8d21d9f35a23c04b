"""docs/deployment.md and docs/operations.md speak of the same things as the compose file."""

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
WHOLE = compose()
SECRET = re.compile(r"\bsecrets/(\w+)")
SERVICE = re.compile(r"docker\scompose\s(?:exec|run\s--rm)(?:\s(?:--no-deps|-T|-v\s\S+|--entrypoint\s\w+))*\s([\w-]+)")


def test_files_that_it_names_are_there() -> None:
    named = set(re.findall(r"\bdeploy/[\w./@-]*\w", TEXT))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_secrets_profiles_and_volumes_that_it_names_are_those_of_compose() -> None:
    table = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", TEXT, re.MULTILINE))))
    assert table == set(WHOLE["secrets"])
    assert set(SECRET.findall(TEXT)) <= set(WHOLE["secrets"])
    profiles = {profile for service in WHOLE["services"].values() for profile in service.get("profiles", [])}
    assert set(re.findall(r"profile (\w+):", TEXT)) == profiles - {"cli"}
    assert {name.partition("_")[2] for name in re.findall(r"durable-commerce_\w+", TEXT)} <= set(WHOLE["volumes"])
    assert set(re.findall(r"SHOP_\w+", TEXT)) <= set(re.findall(r"SHOP_\w+", FILE.read_text()))


def test_commands_and_services_that_it_names_exist() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    typed = [line for line in commands(PAGE) if line.startswith("docker compose run")]
    in_cli = re.findall(r"cli (\w+)", "\n".join(typed))
    assert in_cli
    assert set(in_cli) <= set(group.commands)
    assert set(SERVICE.findall(TEXT)) == {"cli", "mailpit", "postgres", "migrate"}
    assert set(SERVICE.findall(OPERATIONS.read_text())) == {"cli", "postgres", "temporal-namespace"}
    assert {*SERVICE.findall(TEXT), *SERVICE.findall(OPERATIONS.read_text())} <= set(WHOLE["services"])


def test_the_first_order_is_one_of_the_examples_that_is_fulfilled(tmp_path: Path) -> None:
    example = write_sample_shop(tmp_path)
    assert {file.name for file in (example.inventory, example.orders)} <= set(re.findall(r"/in/(\S+)", TEXT))
    ids = set(re.findall(r'"order_id": "(\w+)"', TEXT))
    assert {example.expected[order_id] for order_id in ids} == {"fulfilled"}
    assert not ids & set(example.cases.values())


def test_ports_that_it_names_are_published() -> None:
    published = {port.split(":")[1] for service in WHOLE["services"].values() for port in service.get("ports", [])}
    assert set(re.findall(r"http://localhost:(\d+)", TEXT)) <= published
