"""docs/events.md describes every type of event."""

from commerce.messages.events import EVENTS, EventData
from tests.paths import ROOT

DOCUMENT = ROOT / "docs" / "events.md"


def row(event: type[EventData]) -> str:
    fields = ", ".join(f"`{name}`" for name in event.model_fields)
    return f"| `{event.type}` | {fields} | {event.__doc__} |"


def test_every_type_of_event_is_documented_with_its_data() -> None:
    expected = [row(event) for event in EVENTS]
    documented = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert documented == expected, "Write these rows into docs/events.md:\n" + "\n".join(expected)
