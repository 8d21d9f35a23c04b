"""What operators can list and count runs by; never personal data: search attributes are not encrypted."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from commerce.messages.progress import ProcessState, Progress

ORDER_ID = SearchAttributeKey.for_keyword("OrderId")
CUSTOMER_ID = SearchAttributeKey.for_keyword("CustomerId")
SAGA_STATE = SearchAttributeKey.for_keyword("SagaState")
FAILED_STEP = SearchAttributeKey.for_keyword("FailedStep")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")

SEARCH_ATTRIBUTES = {key.name: "Keyword" for key in (ORDER_ID, CUSTOMER_ID, SAGA_STATE, FAILED_STEP, OUTCOME)}


def show_state(progress: Progress, state: ProcessState) -> None:
    """Say, from within a process, how it stands as a whole."""
    progress.state = state
    if workflow.info().typed_search_attributes.get(SAGA_STATE) != state:
        workflow.upsert_search_attributes([SAGA_STATE.value_set(state)])
    workflow.set_current_details(progress.as_markdown())
