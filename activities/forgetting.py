"""Activities that forget a customer."""

from temporalio import activity

from activities.boundary.generations import begin, key_of_run
from commerce import erasure, generations, ledger
from commerce.database import Database
from commerce.email_addresses import normalise_address
from commerce.errors import BadInput, WrongProcessId
from commerce.messages.base import FieldError
from commerce.messages.forgetting import FORGET_ID_PREFIX, Forgotten, PersonFound, PersonRef
from commerce.messages.steps import Begin, Call
from commerce.transaction import digests_of


class ForgettingActivities:
    """Find what is stored about a person, and erase it. `keep_invoices`: days, see `erasure.erase`."""

    def __init__(self, database: Database, keep_invoices: int) -> None:
        self._database = database
        self._keep_invoices = keep_invoices

    @activity.defn(name="find-customer")
    async def find(self, call: Begin[PersonRef]) -> PersonFound:
        """Make this run the current one, and check that the person is known and has no open order."""
        key = key_of_run(call.key)
        if leftovers := await begin(self._database, key, lambda tx: generations.find_leftovers(tx, key)):
            return PersonFound(leftovers=leftovers, generation=key.generation)
        address = call.input.email
        if normalise_address(address) != address:
            raise BadInput(
                [FieldError(field="email", message="must be trimmed, in lower case, and have its domain in ASCII")]
            )
        async with self._database.transaction() as tx:
            known_ids = digests_of(tx).process_ids(FORGET_ID_PREFIX, address)
            if key.business_key not in known_ids:
                raise WrongProcessId(known_ids[0])
            return PersonFound(customer_id=await erasure.find(tx, address), generation=key.generation)

    @activity.defn(name="erase-customer")
    async def erase(self, call: Call[PersonRef]) -> Forgotten:
        """Final step: erase the person everywhere, remember the address's digest, and write `customer.forgotten`."""
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx,
                call,
                Forgotten,
                lambda: erasure.erase(tx, call.input.email, keep_invoices=self._keep_invoices),
                final=True,
            )
