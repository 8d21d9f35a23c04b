"""Activities that register customers."""

from collections.abc import Callable

from temporalio import activity

from activities.boundary.generations import begin, key_of_run
from commerce import customers, email_addresses, ledger, person_names
from commerce.database import Database
from commerce.errors import BadInput, WrongProcessId
from commerce.messages.base import FieldError, Nothing
from commerce.messages.customers import (
    CreatedCustomer,
    CustomerData,
    CustomerRef,
    RegistrationRequest,
    ValidCustomer,
    registration_process_id,
)
from commerce.messages.steps import Begin, Call

CHECKS: dict[str, Callable[[str], str]] = {
    "email": email_addresses.validate_address,
    "first_name": person_names.validate_name,
    "last_name": person_names.validate_name,
}


class CustomerActivities:
    """Validate registrations, create accounts, and undo that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="validate-customer-data")
    async def validate(self, call: Begin[RegistrationRequest]) -> ValidCustomer:
        """Make this run the current one, and check that address and names are valid and the address has no account."""
        key = key_of_run(call.key)
        # First, so that what an older run left is undone even if the input was valid only when that run started.
        if leftovers := await begin(self._database, key, lambda tx: ledger.find_leftovers(tx, key)):
            return ValidCustomer(leftovers=leftovers, generation=key.generation)
        data = _validate(call.input)
        if key.business_key != (expected := registration_process_id(data["email"])):
            raise WrongProcessId(expected)
        async with self._database.transaction() as tx:
            registered = await customers.find_registration(tx, data["email"], call.input.password_hash)
        return ValidCustomer(**data, registered=registered, generation=key.generation)

    @activity.defn(name="create-customer")
    async def create(self, call: Call[CustomerData]) -> CreatedCustomer:
        """Create the account; a guest with this address becomes the account and keeps the orders (A2)."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, CreatedCustomer, lambda: customers.create(tx, call.input))

    @activity.defn(name="delete-customer")
    async def delete(self, call: Call[Nothing]) -> Nothing:
        """Delete the account, or turn it back into the guest that it was."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, CreatedCustomer, lambda created: customers.delete(tx, created))

    @activity.defn(name="assign-customer-group")
    async def assign_group(self, call: Call[CustomerRef]) -> Nothing:
        """Final step: add the customer to the default group, write `customer.created`, queue the welcome mail (A6)."""
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx, call, Nothing, lambda: customers.complete_registration(tx, call.input.customer_id), final=True
            )

    @activity.defn(name="remove-from-customer-group")
    async def leave_group(self, call: Call[CustomerRef]) -> Nothing:
        """Remove the customer from the default group."""
        async with self._database.transaction() as tx:
            return await ledger.undo(
                tx, call, Nothing, lambda _: customers.remove_from_group(tx, call.input.customer_id)
            )


def _validate(data: CustomerData) -> dict[str, str]:
    """Return address and names as they are stored. Raises BadInput that names every invalid field."""
    valid, problems = {}, []
    for name, check in CHECKS.items():
        try:
            valid[name] = check(getattr(data, name))
        except ValueError as error:
            problems.append(FieldError(field=name, message=str(error)))
    if problems:
        raise BadInput(problems)
    return valid
