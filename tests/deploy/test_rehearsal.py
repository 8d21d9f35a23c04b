"""The rehearsal (`make rehearsal`) builds and runs what the compose file and the pages name; it is not run here."""

import re
from typing import Any

import pytest
import yaml

from tests.deploy.compose import compose, services
from tests.paths import ROOT

FOLDER = ROOT / "deploy" / "rehearsal"
SERVICES = services()
LEFT_OUT = {"grafana"}  # report.md says why
OURS = "durable-commerce:0.1.0"


def test_programs_have_the_versions_of_the_images() -> None:
    built = dict(re.findall(r"^([\w-]+) +\S+ +v([\d.]+) ", (FOLDER / "build-programs").read_text(), re.MULTILINE))
    tags = {name: service["image"].partition(":")[2].removeprefix("v") for name, service in SERVICES.items()}
    assert built.pop("jaeger") < tags["jaeger"]  # the newest that the Go module has
    assert f"collector v{tags['otel-collector']}\n" in (FOLDER / "build-programs").read_text()
    assert built == {
        "temporal-server": tags["temporal"],
        "temporal-sql-tool": tags["temporal-schema"],
        "ui-server": tags["ui"],
        "mailpit": tags["mailpit"],
    }


def test_every_image_of_the_compose_file_is_built_or_left_out() -> None:
    made = set(re.findall(r"\$\(tag ([\w-]+)\)", (FOLDER / "build-images").read_text()))
    images = {SERVICES[name]["image"] for name in made} | {OURS}
    assert {name for name, service in compose()["services"].items() if service["image"] not in images} == LEFT_OUT


@pytest.mark.parametrize("file", ["entrances/override.yml", "narrow/tokens.yml"])
def test_the_other_ways_in_change_existing_services(file: str) -> None:
    override = yaml.safe_load((FOLDER / file).read_text())["services"]
    assert {name for name, service in override.items() if "image" not in service} <= set(SERVICES)


def test_the_override_for_ipv6_changes_existing_services_and_every_address_of_ipv4() -> None:
    (block,) = re.findall(r"```yaml\n(networks:\n.*?)```", (ROOT / "docs" / "deployment.md").read_text(), re.DOTALL)
    override = yaml.safe_load(block)
    assert override["networks"].keys() == compose()["networks"].keys()
    listening = {name for name, each in SERVICES.items() if "0.0.0.0" in f"{each.get('command')} {_own(each)}"}
    assert listening - {"migrate", "cli", "worker", "api"} <= override["services"].keys() <= set(SERVICES)
    assert {"worker", "api"} <= override["services"].keys()


def _own(service: dict[str, Any]) -> list[str]:
    """Return the addresses in a service's environment."""
    return [str(value) for value in (service.get("environment") or {}).values()]
