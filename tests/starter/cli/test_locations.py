"""`commerce locations …`: its output as text and as JSON, and its exit codes."""

from functools import partial

import pytest

from commerce.database import Database
from tests.commerce.shop import Shop
from tests.starter.cli.conftest import Commerce

ADDRESS = ("--street1", "2 Quay", "--city", "Hull", "--zip", "HU1 1AA", "--country", "United Kingdom")


@pytest.fixture
def locations(commerce: Commerce) -> Commerce:
    """Run `commerce locations …`."""
    return partial(commerce, "locations")


async def test_a_location_gets_an_address_and_loses_it(locations: Commerce, database: Database) -> None:
    assert (await locations("list")).out == "There are no locations; importing an inventory creates them\n"
    await Shop(database).stock("MUG", Workshop=1, Harbour=1)
    default = "sends from the address of the settings"
    assert (await locations("list")).out == (
        f"priority  location\n       0  Workshop  {default}\n       1  Harbour  {default}\n"
    )
    line = "      -1  Harbour  2 Quay, Hull, HU1 1AA, GB\n"
    assert (await locations("set", "Harbour", "--priority", "-1", *ADDRESS)).out == line
    assert (await locations("list")).out.splitlines()[1] == line.rstrip("\n")
    changed = (await locations("set", "Harbour", "--phone", "+44 1", "--json")).json
    assert (changed["phone"], changed["street1"], changed["country"]) == ("+44 1", "2 Quay", "GB")
    assert [location["name"] for location in (await locations("list", "--json")).json] == ["Harbour", "Workshop"]
    assert (await locations("set", "Harbour", "--no-address")).out == f"      -1  Harbour  {default}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Nowhere", "--priority", "1"], "name: there is no such location"),
        (["Workshop", "--street1", "2 Quay", "--city", "Hull"], "country: an address needs it"),
        (["Workshop", *ADDRESS, "--country", "Atlantis"], "country: must be an ISO 3166 code"),
    ],
)
async def test_every_error_is_one_line(
    locations: Commerce, database: Database, arguments: list[str], message: str
) -> None:
    await Shop(database).stock("MUG", Workshop=1)
    ended = await locations("set", *arguments)
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1
