"""The public contract as JSON Schemas: what every kind of process takes and returns, and what each event tells."""

from typing import Any

from commerce.messages.events import EVENTS
from starter.processes import PROCESS_TYPES

Schemas = dict[str, dict[str, Any]]


def contract() -> dict[str, Schemas]:
    """Return by kind of process the schemas of `entry`, `input` and `result`, and by type of event that of its `data`.

    `entry`: what `commerce start` and the HTTP API take; `input`: what a Temporal client gives, which differs only
    where something must not reach Temporal, such as a password.
    """
    return {
        kind: {
            "entry": process.entry.model_json_schema(),
            "input": (process.input or process.entry).model_json_schema(),
            "result": process.result.model_json_schema(mode="serialization"),
        }
        for kind, process in PROCESS_TYPES.items()
    } | {fact.type: {"data": fact.model_json_schema(mode="serialization")} for fact in EVENTS}
