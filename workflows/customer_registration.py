"""Register a customer: validate, create account and login, add to the group, send the welcome mail; or undo it all."""

from datetime import timedelta
from typing import NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.auth import AuthActivities
    from activities.confirmations import ConfirmationActivities
    from activities.customers import CustomerActivities
    from activities.notifications import NotificationActivities
    from commerce.messages.base import Nothing
    from commerce.messages.customers import (
        AuthUser,
        ConfirmationRequest,
        Customer,
        CustomerData,
        CustomerRef,
        CustomerRegistration,
        EarlierRegistration,
        NewAuthUser,
        RegistrationRequest,
        RegistrationResult,
        welcome_key,
    )
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.progress import Progress
    from workflows.engine.alerts import alert_admins, run_key, send_or_alert
    from workflows.engine.calls import name_of
    from workflows.engine.cancellation import CANCEL_OR_FAILURE
    from workflows.engine.policies import FINAL_STEP, MAIL, REGULAR_MAIL, REGULAR_STEP
    from workflows.engine.saga import Saga
    from workflows.engine.search_attributes import CUSTOMER_ID, OUTCOME

PLAN = (
    CustomerActivities.validate,
    CustomerActivities.create,
    AuthActivities.create,
    CustomerActivities.assign_group,
    NotificationActivities.send_welcome,
)
CONFIRM_TIME = timedelta(hours=1)  # for an answer to the mailed link


@workflow.defn(name="customer-registration")
class CustomerRegistrationWorkflow:
    """One address, one process: its id is `customer-registration-` and a digest, so it does not reveal the address.

    Where addresses must be proven, each request has a process of its own: those of one address wait side by side.
    """

    def __init__(self) -> None:
        self._saga = Saga(PLAN)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress of the registration, step by step."""
        return self._saga.progress

    @workflow.run
    async def run(self, request: CustomerRegistration) -> RegistrationResult:
        """Register the customer, or leave nothing behind. An address that already has an account is a failure (A4)."""
        try:
            result = await self._register(request)
        except CANCEL_OR_FAILURE as failure:
            await self._handle_failure(failure)
        workflow.upsert_search_attributes([OUTCOME.value_set("registered")])
        return result

    async def _handle_failure(self, failure: BaseException) -> NoReturn:
        if self._saga.progress.state == "compensation_failed":
            await alert_admins(_alert("compensation-failed", "A registration could not be undone", str(failure)))
        raise self._saga.final_failure(failure)

    async def _register(self, request: CustomerRegistration) -> RegistrationResult:
        async with self._saga as saga:
            start = RegistrationRequest(**request.model_dump())
            valid = await saga.begin(CustomerActivities.validate, start, policy=REGULAR_STEP)
            data = CustomerData(email=valid.email, first_name=valid.first_name, last_name=valid.last_name)
            if valid.confirms and not valid.registered:
                await self._confirm(ConfirmationRequest(email=valid.email, password_hash=request.password_hash))
            made = valid.registered or await self._make_account(data, request.password_hash)
            if workflow.info().typed_search_attributes.get(CUSTOMER_ID) != made.customer_id:
                workflow.upsert_search_attributes([CUSTOMER_ID.value_set(made.customer_id)])
            welcomed = made.welcomed or await self._welcome(made.customer_id)
        return RegistrationResult(
            customer=Customer(id=made.customer_id, **data.model_dump()),
            auth_user=AuthUser(id=made.auth_user_id),
            email_sent=welcomed,
            group_assigned=True,
        )

    async def _confirm(self, request: ConfirmationRequest) -> None:
        """Wait until somebody proves that the address is theirs; without a proof, nothing is created (A9)."""
        ask, withdraw = ConfirmationActivities.request, ConfirmationActivities.withdraw
        self._saga.plan([name_of(ask)], after=name_of(CustomerActivities.validate))
        await self._saga.wait(
            ask, request, answer=Nothing, until=CONFIRM_TIME, undo=withdraw, undo_input=Nothing(), policy=REGULAR_MAIL
        )

    async def _make_account(self, data: CustomerData, password_hash: str) -> EarlierRegistration:
        saga = self._saga
        # The undos get only the key. What they need is in the ledger, which stores neither names nor the hash.
        created = await saga.step(CustomerActivities.create, data, undo=CustomerActivities.delete, undo_input=Nothing())
        customer = CustomerRef(customer_id=created.customer_id)
        workflow.upsert_search_attributes([CUSTOMER_ID.value_set(customer.customer_id)])
        login = NewAuthUser(customer_id=customer.customer_id, password_hash=password_hash)
        auth_user = await saga.step(AuthActivities.create, login, undo=AuthActivities.delete, undo_input=Nothing())
        leave = CustomerActivities.leave_group
        await saga.step(CustomerActivities.assign_group, customer, undo=leave, policy=FINAL_STEP, final=True)
        return EarlierRegistration(customer_id=customer.customer_id, auth_user_id=auth_user.id, welcomed=False)

    async def _welcome(self, customer_id: str) -> bool:
        alert = _alert("notification-failed", "The welcome mail was not sent to a new customer")
        mail = welcome_key(customer_id)
        sending = self._saga.step(NotificationActivities.send_welcome, NotificationRef(key=mail), policy=MAIL)
        return await send_or_alert(sending, mail, alert)


def _alert(kind: str, message: str, error: str | None = None) -> Alert:
    """Return an alert that names the process; its id holds nothing personal."""
    process = workflow.info().workflow_id
    return Alert(kind=kind, key=f"{kind}/{process}/{run_key()}", message=f"{message}: {process}", error=error)
