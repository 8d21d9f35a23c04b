"""Forget a customer: find what is stored about them, then erase it in one step, which nothing can undo (A7)."""

from typing import NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.forgetting import ForgettingActivities
    from commerce.messages.forgetting import ForgetCustomer, Forgotten, PersonRef
    from commerce.messages.progress import Progress
    from workflows.engine.cancellation import CANCEL_OR_FAILURE
    from workflows.engine.policies import FINAL_STEP, REGULAR_STEP
    from workflows.engine.saga import Saga
    from workflows.engine.search_attributes import CUSTOMER_ID, OUTCOME

PLAN = (ForgettingActivities.find, ForgettingActivities.erase)


@workflow.defn(name="forget-customer")
class ForgetCustomerWorkflow:
    """One address, one process: its id is `forget-customer-` and a digest of the address."""

    def __init__(self) -> None:
        self._saga = Saga(PLAN)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress, step by step."""
        return self._saga.progress

    @workflow.run
    async def run(self, request: ForgetCustomer) -> Forgotten:
        """Forget the customer. Again, it erases what was stored since; an open order is a failure."""
        person = PersonRef(email=request.email)
        try:
            async with self._saga as saga:
                found = await saga.begin(ForgettingActivities.find, person, policy=REGULAR_STEP)
                if found.customer_id:
                    workflow.upsert_search_attributes([CUSTOMER_ID.value_set(found.customer_id)])
                forgotten = await saga.step(ForgettingActivities.erase, person, policy=FINAL_STEP, final=True)
        except CANCEL_OR_FAILURE as failure:
            self._fail(failure)
        workflow.upsert_search_attributes([OUTCOME.value_set("forgotten")])
        return forgotten

    def _fail(self, failure: BaseException) -> NoReturn:
        raise self._saga.final_failure(failure)
