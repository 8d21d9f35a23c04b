"""Steps on who the customer is."""

from collections.abc import Callable

from temporalio import activity

from commerce import customers, email_addresses, ledger, person_names
from commerce.database import Database
from commerce.errors import BadInput, WrongProcessId
from commerce.messages.base import FieldError, Nothing
from commerce.messages.customers import (
    Created,
    CustomerData,
    CustomerRef,
    RegistrationStart,
    ValidCustomer,
    registration_process_id,
)
from commerce.messages.steps import Begin, Call

CHECKS: dict[str, Callable[[str], str]] = {
    "email": email_addresses.checked,
    "first_name": person_names.checked_name,
    "last_name": person_names.checked_name,
}


class CustomerActivities:
    """Accept who registers, make the account, and take it back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="validate-customer-data")
    async def validate(self, call: Begin[RegistrationStart]) -> ValidCustomer:
        """Check address and names, that the address is new, and make this run the one that may register it."""
        data = _checked(call.input)
        if call.key.business_key != (wanted := registration_process_id(data["email"])):
            raise WrongProcessId(wanted)
        async with self._database.transaction() as tx:
            if leftovers := await ledger.begin(tx, call):
                return ValidCustomer(leftovers=leftovers)
        async with self._database.transaction() as tx:
            known = await customers.registered(tx, data["email"], call.input.password_hash)
        return ValidCustomer(**data, registered=known)

    @activity.defn(name="create-customer")
    async def create(self, call: Call[CustomerData]) -> Created:
        """Make the account; a guest of this address becomes it and keeps the orders."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, Created, lambda: customers.create(tx, call.input))

    @activity.defn(name="delete-customer")
    async def delete(self, call: Call[Nothing]) -> Nothing:
        """Take the account back; who was a guest is one again."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Created, lambda created: customers.delete(tx, created))

    @activity.defn(name="assign-customer-group")
    async def assign_group(self, call: Call[CustomerRef]) -> Nothing:
        """Put the customer into the default group, publish it and queue the welcome mail: the point of no return."""
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx, call, Nothing, lambda: customers.complete(tx, call.input.customer_id), final=True
            )

    @activity.defn(name="remove-from-customer-group")
    async def leave_group(self, call: Call[CustomerRef]) -> Nothing:
        """Take the customer out of the default group."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Nothing, lambda _: customers.leave_group(tx, call.input.customer_id))


def _checked(data: CustomerData) -> dict[str, str]:
    """Return address and names in the form they are kept in; raises BadInput naming every field that does not fit."""
    kept, problems = {}, []
    for name, check in CHECKS.items():
        try:
            kept[name] = check(getattr(data, name))
        except ValueError as error:
            problems.append(FieldError(field=name, message=str(error)))
    if problems:
        raise BadInput(problems)
    return kept
