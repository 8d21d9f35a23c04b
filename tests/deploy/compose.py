"""Reads docker-compose.yml as `docker compose` does, as far as the tests need it: merged, with its variables."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from dotenv import dotenv_values

from tests.paths import ROOT

FILE = ROOT / "docker-compose.yml"
EXAMPLE = {name: value or "" for name, value in dotenv_values(ROOT / "deploy" / "env.example").items()}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<how>[-?])(?P<text>[^}]*))?\}")
Json = dict[str, Any]


class Missing(Exception):
    """A variable that must be given; the message is what the user is shown."""


def compose(variables: Mapping[str, str] = EXAMPLE) -> Json:
    """Return the whole file with these variables; raises Missing."""
    loaded: Json = _filled(yaml.safe_load(FILE.read_text()), variables)
    return loaded


def services(variables: Mapping[str, str] = EXAMPLE) -> dict[str, Json]:
    found: dict[str, Json] = compose(variables)["services"]
    return found


def is_ours(service: Json) -> bool:
    """Say whether this service is made from our own image."""
    return str(service["image"]).startswith("durable-commerce:")


def is_job(service: Json) -> bool:
    """Say whether this service does something once and ends."""
    return str(service["restart"]) != "unless-stopped"


def environment(service: Json) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def _filled(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(value, variables) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, variables) for value in part]
    return VARIABLE.sub(lambda found: _value(found, variables), part) if isinstance(part, str) else part


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    given = variables.get(found["name"], "")
    if not given and found["how"] == "?":
        raise Missing(f"{found['name']} {found['text']}")
    return given or (found["text"] if found["how"] == "-" else "")
