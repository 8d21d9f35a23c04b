"""The warehouse's signed answers to picks."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Request
from pydantic import Field, ValidationError

from commerce.errors import AlreadyAnswered, BadInput, PickNotFound, WaitOver
from commerce.messages.base import field_errors
from commerce.messages.picks import MAX_LINES, PickLine
from starter.api.backends import BackendsDep, ClientDep
from starter.api.error_codes import ErrorCode
from starter.api.errors import Problem, Responses, error_examples, json_example
from starter.api.intake import IS_OFF, NOT_SIGNED, OWN_ERRORS, signed_body
from starter.api.parameters import RequestBody, ResponseBody
from starter.operate.picks import answer_pick

PICK, ORDER = "0199c2a4-7d1e-7c3a-9a55-0d4a6d6a3f10", "order-processing-1001"
EXAMPLE = {"id": PICK, "picked": [{"sku": "MUG", "quantity": 2}]}
RESPONSES: Responses = {
    200: json_example({"status": "taken"}, "The answer counts, also if it is repeated"),
    **error_examples(
        HTTPStatus.UNAUTHORIZED, "The body is not signed", Problem(error=NOT_SIGNED, code=ErrorCode.Unauthorized)
    ),
    **error_examples(
        HTTPStatus.NOT_FOUND,
        "There is no such pick, or the route is off",
        PickNotFound(PICK),
        Problem(error=IS_OFF, code=ErrorCode.NotFound),
    ),
    **error_examples(
        HTTPStatus.CONFLICT,
        "The pick has another answer, or nobody waits for it any more: put its goods back",
        AlreadyAnswered(ORDER, f"pick {PICK} was answered otherwise before"),
        WaitOver(ORDER, f"pick {PICK} is withdrawn"),
    ),
}
routes = APIRouter(prefix="/intake", tags=["intake"], responses=OWN_ERRORS)


class PickAnswer(RequestBody):
    """What was picked; SKUs that are left out were not found."""

    id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="The id of the pick")
    picked: list[PickLine] = Field(max_length=MAX_LINES)


class TakenPick(ResponseBody):
    """What became of an answer."""

    status: Literal["taken", "recorded", "waiting"] = Field(
        description="taken: the order goes on; recorded: it does when a worker runs; waiting: for its other picks"
    )


@routes.post(
    "/warehouse",
    summary="Take the answer to a pick",
    response_model=TakenPick,
    responses=RESPONSES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}, "example": EXAMPLE}},
        }
    },
)
async def receive_pick(
    request: Request,
    backends: BackendsDep,
    temporal: ClientDep,
    x_warehouse_signature: Annotated[str, Header(description="Base64 of the HMAC-SHA256 of the body")] = "",
) -> TakenPick:
    """Take what the warehouse has picked, signed with one of `COMMERCE_WAREHOUSE_SECRETS`. It needs no token.

    The same answer can be sent again, and must be after 5xx, 408, 425, 429 and broken connections.
    """
    body = await signed_body(request, x_warehouse_signature, backends.settings.warehouse_secrets)
    try:
        answer = PickAnswer.model_validate_json(body)
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None
    return TakenPick(status=await answer_pick(temporal, backends.database, answer.id, answer.picked))
