"""Locations: the order in which stock is taken from them, and where their parcels are sent from."""

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.countries import country_code
from commerce.errors import BadInput
from commerce.messages.base import FieldError, Message

ADDRESS = ("sender_name", "company", "street1", "street2", "city", "zip", "state", "country", "phone")
REQUIRED = ("street1", "city", "country")  # of an address

LIST = text("SELECT * FROM locations ORDER BY priority, id")
READ = text("SELECT * FROM locations WHERE name = :name OR id = :name ORDER BY name = :name DESC LIMIT 1 FOR UPDATE")
WRITE = text(f"""
    UPDATE locations SET priority = :priority, {", ".join(f"{column} = :{column}" for column in ADDRESS)}
    WHERE id = :id
""")  # noqa: S608 - our own constants


class Location(Message):
    """A location with its priority, and the address that its parcels are sent from, if it has one of its own."""

    id: str
    name: str
    priority: int
    sender_name: str | None = None
    company: str | None = None
    street1: str | None = None
    street2: str | None = None
    city: str | None = None
    zip: str | None = None
    state: str | None = None
    country: str | None = None
    phone: str | None = None


async def list_locations(tx: AsyncSession) -> list[Location]:
    """Return all locations, in the order in which stock is taken from them."""
    rows = (await tx.execute(LIST)).mappings().all()
    return [Location.model_validate(dict(row)) for row in rows]


async def change(tx: AsyncSession, name: str, changes: Mapping[str, str | int | None]) -> Location:
    """Change the priority and the address of the location with this name or id; return it as it is now.

    An empty value deletes a field. A country may be a code or an English name. Raises BadInput if there is no such
    location, the country is unknown, or the address would be incomplete.
    """
    row = (await tx.execute(READ, {"name": name})).mappings().one_or_none()
    if row is None:
        raise BadInput([FieldError(field="name", message="there is no such location")])
    values = {**row, **changes}
    for column in ADDRESS:
        values[column] = str(values[column] or "").strip() or None
    if values["country"]:
        values["country"] = country_code(values["country"])
        if values["country"] is None or len(values["country"]) != 2:
            raise BadInput([FieldError(field="country", message="must be an ISO 3166 code of two letters, like GB")])
    missing = [column for column in REQUIRED if values[column] is None]
    if missing and any(values[column] for column in ADDRESS):
        raise BadInput([FieldError(field=column, message="an address needs it") for column in missing])
    location = Location.model_validate(values)
    await tx.execute(WRITE, location.model_dump())
    return location
