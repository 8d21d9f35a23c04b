"""Read docker-compose.yml like `docker compose`, as far as the tests need: merged, with variables replaced."""

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


class MissingVariable(Exception):
    """A required variable is not set; the message is the one that compose prints."""


def compose(variables: Mapping[str, str] = EXAMPLE) -> Json:
    """Return the whole file with these variables; raises MissingVariable."""
    loaded: Json = _replace_variables(yaml.safe_load(FILE.read_text()), variables)
    return loaded


def services(variables: Mapping[str, str] = EXAMPLE) -> dict[str, Json]:
    found: dict[str, Json] = compose(variables)["services"]
    return found


def is_ours(service: Json) -> bool:
    """Return whether this service uses our own image."""
    return str(service["image"]).startswith("durable-commerce:")


def is_job(service: Json) -> bool:
    """Return whether this service does something once and exits."""
    return str(service["restart"]) != "unless-stopped"


def environment(service: Json) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def _replace_variables(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: _replace_variables(value, variables) for name, value in part.items()}
    if isinstance(part, list):
        return [_replace_variables(value, variables) for value in part]
    return VARIABLE.sub(lambda found: _value(found, variables), part) if isinstance(part, str) else part


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    value = variables.get(found["name"], "")
    if not value and found["how"] == "?":
        raise MissingVariable(f"{found['name']} {found['text']}")
    return value or (found["text"] if found["how"] == "-" else "")
