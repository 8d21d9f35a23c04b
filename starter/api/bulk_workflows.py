"""Many processes over HTTP at once: retry and cancel them."""

from fastapi import APIRouter
from pydantic import AwareDatetime, ConfigDict, Field

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.runs import BulkCancel, BulkRetry, CancellableStatus, RetryableStatus
from starter.api import workflow_examples as examples
from starter.api.backends import ClientDep, DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, prefix_field_errors
from starter.api.parameters import Reason
from starter.operate import bulk_cancel, bulk_retry
from starter.operate.process_list import Narrowing

routes = APIRouter(prefix="/workflows", tags=["workflows"], responses=COMMON_ERRORS)


class RetrySelection(Reason):
    """Processes to retry, by their latest run. Several fields select what all of them name; one is required."""

    model_config = ConfigDict(json_schema_extra={"example": examples.BULK_RETRY_BODY}, extra="forbid")

    status: RetryableStatus | None = Field(
        None, description="`failed` includes timed out and terminated processes; default with other fields: failed"
    )
    type: str | None = Field(None, max_length=100, description="Only processes of this type, such as order-processing")
    failed_with: str | None = Field(
        None, max_length=100, description="The type of the error, as `failure_type` in the list"
    )
    failed_step: str | None = Field(
        None, max_length=100, description="The step that failed, as `failed_step` in the list"
    )
    since: AwareDatetime | None = Field(None, description="Only processes that ended at this time or later")
    until: AwareDatetime | None = Field(None, description="Only processes that ended before this time")
    limit: int = Field(100, ge=1, le=bulk_retry.MAX_RETRIES, description="The maximum number; default: 100")
    dry_run: bool = Field(
        True, description="Return the selected processes and retry none. Default: true, so look first, then send false"
    )


class CancelSelection(Reason):
    """Running processes to cancel. Several fields select what all of them name; one besides `status` is required."""

    model_config = ConfigDict(json_schema_extra={"example": examples.BULK_CANCEL_BODY}, extra="forbid")

    status: CancellableStatus | None = Field(None, description="Default: running, which includes waiting ones")
    type: str | None = Field(None, max_length=100, description="Only processes of this type, such as deliver-webhook")
    search: str | None = Field(
        None, max_length=200, description="How the process id starts, or the id of an order or customer"
    )
    since: AwareDatetime | None = Field(None, description="Only processes that started at this time or later")
    until: AwareDatetime | None = Field(None, description="Only processes that started before this time")
    limit: int = Field(100, ge=1, le=bulk_cancel.MAX_CANCELS, description="The maximum number; default: 100")
    dry_run: bool = Field(
        True, description="Return the selected processes and cancel none. Default: true, so look first, then send false"
    )


@routes.post(
    "/retry",
    summary="Retry many processes",
    responses=examples.BULK_RETRY_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def retry_workflows(
    body: RetrySelection, temporal: ClientDep, database: DatabaseDep, caller: CallerDep
) -> BulkRetry:
    """Run all selected processes again, as `POST /workflows/{transaction_id}/retry` does with one.

    First send it as a dry run, then with `dry_run` false. A process that cannot be retried is listed in `refused` and
    does not stop the others. If `more` is true, send it again. After a 503 some may have been retried; sending it again
    is safe.
    """
    selection = bulk_retry.Selection(
        status=body.status or "failed",
        kind=body.type,
        failed_with=body.failed_with,
        failed_step=body.failed_step,
        since=body.since,
        until=body.until,
    )
    if body.status is None and selection.is_empty:
        problem = FieldError(field="body", message="must select processes, such as by failed_with")
        raise BadInput([problem])
    with prefix_field_errors("body"):
        found = await bulk_retry.find(temporal, selection, body.limit)
    if body.dry_run:
        return found
    return await bulk_retry.retry_found(temporal, database, found, reason=body.reason, actor=caller.name)


@routes.post(
    "/cancel",
    summary="Cancel many processes",
    responses=examples.BULK_CANCEL_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def cancel_workflows(
    body: CancelSelection, temporal: ClientDep, database: DatabaseDep, caller: CallerDep
) -> BulkCancel:
    """Cancel all selected processes, as `POST /workflows/{transaction_id}/cancel` does with one.

    First send it as a dry run, then with `dry_run` false. A process that cannot be cancelled is listed in `refused` and
    does not stop the others. If `more` is true, send it again. After a 503 some may have been cancelled; sending it
    again is safe.
    """
    only = Narrowing(search=body.search, since=body.since, until=body.until)
    selection = bulk_cancel.Selection(status=body.status or "running", kind=body.type, only=only)
    if selection.is_empty:
        raise BadInput([FieldError(field="body", message="must select processes by type, search or time")])
    with prefix_field_errors("body"):
        found = await bulk_cancel.find(temporal, selection, body.limit)
    if body.dry_run:
        return found
    return await bulk_cancel.cancel_found(temporal, database, found, reason=body.reason, actor=caller.name)
