"""What operators can list and count runs by; never personal data: search attributes are not encrypted."""

from temporalio.common import SearchAttributeKey

ORDER_ID = SearchAttributeKey.for_keyword("OrderId")
CUSTOMER_ID = SearchAttributeKey.for_keyword("CustomerId")
SAGA_STATE = SearchAttributeKey.for_keyword("SagaState")
FAILED_STEP = SearchAttributeKey.for_keyword("FailedStep")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")

SEARCH_ATTRIBUTES = {key.name: "Keyword" for key in (ORDER_ID, CUSTOMER_ID, SAGA_STATE, FAILED_STEP, OUTCOME)}
