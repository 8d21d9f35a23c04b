"""The rehearsal (`make rehearsal`) builds and runs what the compose file and the pages name; it is not run here."""

import re

import yaml

from tests.deploy.compose import compose, services
from tests.paths import ROOT

FOLDER = ROOT / "deploy" / "rehearsal"
SERVICES = services()
LEFT_OUT = {"grafana", "otel-collector", "jaeger"}  # report.md says why
OURS = "durable-commerce:0.1.0"


def test_programs_have_the_versions_of_the_images() -> None:
    built = dict(re.findall(r"^([\w-]+) +\S+ +v([\d.]+) ", (FOLDER / "build-programs").read_text(), re.MULTILINE))
    tags = {name: service["image"].partition(":")[2].removeprefix("v") for name, service in SERVICES.items()}
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


def test_the_other_ways_in_change_existing_services() -> None:
    override = yaml.safe_load((FOLDER / "entrances" / "override.yml").read_text())["services"]
    assert {name for name, service in override.items() if "image" not in service} <= set(SERVICES)
