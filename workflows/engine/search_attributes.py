"""Search attributes: what operators list and count runs by.

Temporal stores them in clear text, so they never hold personal data.
"""

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import run_failure_type
    from commerce.messages.progress import ProcessState, Progress

ORDER_ID = SearchAttributeKey.for_keyword("OrderId")
CUSTOMER_ID = SearchAttributeKey.for_keyword("CustomerId")
SAGA_STATE = SearchAttributeKey.for_keyword("SagaState")
FAILED_STEP = SearchAttributeKey.for_keyword("FailedStep")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")
FAILURE_TYPE = SearchAttributeKey.for_keyword("FailureType")
WAITING_FOR = SearchAttributeKey.for_keyword("WaitingFor")

SEARCH_ATTRIBUTES = {
    key.name: "Keyword" for key in (ORDER_ID, CUSTOMER_ID, SAGA_STATE, FAILED_STEP, OUTCOME, FAILURE_TYPE, WAITING_FOR)
}


def publish_state(progress: Progress, state: ProcessState) -> None:
    """Set the state of the running process in its progress, its search attribute and its details in Temporal's UI."""
    progress.state = state
    if workflow.info().typed_search_attributes.get(SAGA_STATE) != state:
        workflow.upsert_search_attributes([SAGA_STATE.value_set(state)])
    workflow.set_current_details(progress.as_markdown())


def publish_order_id(order_id: str) -> None:
    """Set the search attribute that names the order, if the client that started the run has not."""
    if workflow.info().typed_search_attributes.get(ORDER_ID) != order_id:
        workflow.upsert_search_attributes([ORDER_ID.value_set(order_id)])


def publish_waiting(progress: Progress, step: str | None) -> None:
    """Show that the process waits for an answer to this step, or for none any more."""
    attribute = WAITING_FOR.value_set(step) if step else WAITING_FOR.value_unset()
    workflow.upsert_search_attributes([attribute])
    publish_state(progress, "waiting" if step else "running")


def clear_copied_attributes() -> None:
    """Unset what "Start Workflow Like This One" in Temporal's UI has copied from the end of another run."""
    attributes = workflow.info().typed_search_attributes
    ends = (FAILED_STEP, OUTCOME, FAILURE_TYPE, WAITING_FOR)
    copied = [key.value_unset() for key in ends if attributes.get(key) is not None]
    if copied and workflow.patched("clear-copied-attributes"):
        workflow.upsert_search_attributes(copied)


def publish_failed_step(progress: Progress) -> None:
    """Set the search attribute that names the last failed step, if there is one."""
    if failed := [step.kind for step in progress.steps if step.state == "failed"]:
        workflow.upsert_search_attributes([FAILED_STEP.value_set(failed[-1])])


def publish_failure_type(failure: BaseException) -> None:
    """Set the search attribute that names the type of the failure that ends the run, unless the run is cancelled."""
    cancelled = workflow.cancellation_reason() is not None and is_cancelled_exception(failure)
    if isinstance(failure, FailureError) and not cancelled and workflow.patched("failure-type"):
        workflow.upsert_search_attributes([FAILURE_TYPE.value_set(run_failure_type(failure))])
