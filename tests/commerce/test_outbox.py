"""Events: what each type tells is what the documents say."""

from commerce.messages.events import FACTS, Fact
from tests.paths import ROOT

DOCUMENT = ROOT / "docs" / "events.md"


def row(fact: type[Fact]) -> str:
    fields = ", ".join(f"`{name}`" for name in fact.model_fields)
    return f"| `{fact.type}` | {fields} | {fact.__doc__} |"


def test_every_type_is_documented_with_its_data() -> None:
    wanted = [row(fact) for fact in FACTS]
    documented = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert documented == wanted, "Write these rows into docs/events.md:\n" + "\n".join(wanted)
