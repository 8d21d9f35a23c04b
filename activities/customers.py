"""Activities that register customers."""

from collections.abc import Callable

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus

from activities.boundary.generations import begin, key_of_run, latest_run
from commerce import confirmations, customers, email_addresses, generations, ledger, person_names
from commerce.database import Database
from commerce.errors import BadInput, RegistrationInProgress, WrongProcessId
from commerce.messages.base import FieldError, Nothing
from commerce.messages.customers import (
    REGISTRATION_ID_PREFIX,
    CreatedCustomer,
    CustomerData,
    CustomerRef,
    RegistrationRequest,
    ValidCustomer,
    request_tag,
)
from commerce.messages.steps import Begin, Call, Leftover, StepKey
from commerce.transaction import digests_of

CHECKS: dict[str, Callable[[str], str]] = {
    "email": email_addresses.validate_address,
    "first_name": person_names.validate_name,
    "last_name": person_names.validate_name,
}


class CustomerActivities:
    """Validate registrations, create accounts, and undo that."""

    def __init__(self, database: Database, *, confirms: bool = False) -> None:
        """Take the database, and whether addresses must be proven before an account is created (A9)."""
        self._database = database
        self._confirms = confirms

    @activity.defn(name="validate-customer-data")
    async def validate(self, call: Begin[RegistrationRequest]) -> ValidCustomer:
        """Make this run the current one, and check that address and names are valid and the address has no account."""
        key = key_of_run(call.key)
        # First, so that what an older run left is undone even if the input was valid only when that run started.
        if leftovers := await begin(self._database, key, lambda tx: generations.find_leftovers(tx, key)):
            return ValidCustomer(leftovers=leftovers, generation=key.generation)
        data = _validate(call.input)
        async with self._database.transaction() as tx:
            known_ids = digests_of(tx).process_ids(REGISTRATION_ID_PREFIX, data["email"])
        tag = request_tag(call.input.password_hash)
        if key.business_key not in (*known_ids, *(f"{known}-{tag}" for known in known_ids)):
            raise WrongProcessId(known_ids[0])
        for process_id in known_ids:
            if process_id != key.business_key and (leftovers := await self._take_over(key, process_id)):
                return ValidCustomer(leftovers=leftovers, generation=key.generation)
        async with self._database.transaction() as tx:
            registered = await customers.find_registration(tx, data["email"], call.input.password_hash)
        return ValidCustomer(**data, registered=registered, confirms=self._confirms, generation=key.generation)

    async def _take_over(self, key: StepKey, process_id: str) -> list[Leftover]:
        """Let no run under an id of another key, or of none, act any more; return the steps it has left to undo.

        Raises RegistrationInProgress while it is open, and Unreachable.
        """
        async with self._database.transaction() as tx:
            if await generations.current_generation(tx, process_id) in (None, key.generation):
                return []
        run = await latest_run(process_id)
        if run is not None and run.status == WorkflowExecutionStatus.RUNNING:
            raise RegistrationInProgress
        earlier = key.model_copy(update={"business_key": process_id})
        return await begin(self._database, earlier, lambda tx: generations.find_leftovers(tx, earlier))

    @activity.defn(name="create-customer")
    async def create(self, call: Call[CustomerData]) -> CreatedCustomer:
        """Create the account; a guest with this address becomes the account and keeps the orders (A2)."""
        async with self._database.transaction() as tx:

            async def create() -> CreatedCustomer:
                await confirmations.end(tx, call.key.business_key)
                return await customers.create(tx, call.input, call.key.business_key)

            return await ledger.once(tx, call, CreatedCustomer, create)

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
