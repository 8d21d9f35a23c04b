"""The commands `commerce locations …`: where stock is taken from first, and where parcels are sent from."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import AsJson, DataDir, out, print_line, print_result, run_in_transaction

if TYPE_CHECKING:
    from commerce.locations import Location

locations_app = typer.Typer(
    help="Locations: where stock is taken from first, and where parcels are sent from.", no_args_is_help=True
)

Text = Annotated[str | None, typer.Option()]


@locations_app.command("list")
def list_locations(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the locations, in the order in which stock is taken from them.

    A location without an address sends from that of the settings COMMERCE_SHIP_FROM_….
    """
    from commerce import locations

    found = run_in_transaction(data_dir, locations.list_locations)
    if as_json:
        out.print_json(data=[location.model_dump(mode="json") for location in found])
    elif not found:
        print_line("There are no locations; importing an inventory creates them")
    else:
        print_line("priority  location")
    for location in [] if as_json else found:
        print_line(_line(location))


@locations_app.command(
    "set", epilog="Example: commerce locations set Harbour --street1 '2 Quay' --city Hull --country GB"
)
def set_location(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the location")],
    priority: Annotated[
        int | None, typer.Option(min=-(2**31), max=2**31 - 1, help="The lowest number is used first")
    ] = None,
    sender_name: Annotated[str | None, typer.Option(help="Sender on labels; default: that of the settings")] = None,
    company: Text = None,
    street1: Text = None,
    street2: Text = None,
    city: Text = None,
    zip_code: Annotated[str | None, typer.Option("--zip")] = None,
    state: Text = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166 code or English name")] = None,
    phone: Annotated[str | None, typer.Option(help="Default: that of the settings")] = None,
    no_address: Annotated[
        bool, typer.Option("--no-address", help="Send from the address of the settings; deletes the location's own")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Change the priority of a location, or the address that its parcels are sent from.

    What is not given stays; an empty value deletes a field. An address needs street1, city and country.
    """
    from commerce import locations

    given = {
        "priority": priority,
        "sender_name": sender_name,
        "company": company,
        "street1": street1,
        "street2": street2,
        "city": city,
        "zip": zip_code,
        "state": state,
        "country": country,
        "phone": phone,
    }
    changes: dict[str, str | int | None] = dict.fromkeys(locations.ADDRESS) if no_address else {}
    changes |= {field: value for field, value in given.items() if value is not None}
    location = run_in_transaction(data_dir, lambda tx: locations.change(tx, name.strip(), changes))
    print_result(location.model_dump(mode="json"), _line(location), as_json=as_json)


def _line(location: "Location") -> str:
    fields = ("sender_name", "company", "street1", "street2", "city", "zip", "state", "country", "phone")
    address = ", ".join(filter(None, (getattr(location, field) for field in fields)))
    return f"{location.priority:>8}  {location.name}  {address or 'sends from the address of the settings'}"
