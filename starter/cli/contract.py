"""The public contract as JSON Schemas: the input and result of every process type, and the data of every event."""

from typing import Any

from commerce.messages.events import EVENTS
from starter.processes import PROCESS_TYPES

Schemas = dict[str, dict[str, Any]]


def contract() -> dict[str, Schemas]:
    """Return the schemas `entry`, `input` and `result` of each process type, and the schema `data` of each event type.

    `entry` is what `commerce start` and the HTTP API accept. `input` is what a Temporal client sends: it differs only
    if the entry has something that Temporal must not get, such as a password.
    """
    processes = {
        kind: {
            "entry": process_type.entry.model_json_schema(),
            "input": (process_type.input or process_type.entry).model_json_schema(),
            "result": process_type.result.model_json_schema(mode="serialization"),
        }
        for kind, process_type in PROCESS_TYPES.items()
    }
    events = {event.type: {"data": event.model_json_schema(mode="serialization")} for event in EVENTS}
    return processes | events
