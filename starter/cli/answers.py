"""`commerce runs answer`: answer a step that waits."""

import json
from typing import Annotated, Any

import typer

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.waits import Answer, AnswerKind, AnswerReceipt
from starter.cli.shared import AsJson, Connections, DataDir, print_result, run_connected

ACTOR = "cli"


def answer(
    process_id: Annotated[str, typer.Argument(metavar="ID", help="Process id, such as order-processing-1001")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="Step that waits, such as review-order")],
    kind: Annotated[
        AnswerKind,
        typer.Argument(
            metavar="ANSWER", help="success: the process goes on; failure: it undoes itself; retry: the step asks again"
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="What the step asks for, as a JSON object; only with success")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; stored in the shop's own database only")] = "",
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same answer under the same key is accepted again")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Answer a step that waits for something outside the shop, such as a review.

    Without a worker the answer counts as well: the process gets it as soon as one runs.
    """
    given = Answer(answer=kind, data=_parse(data), reason=reason)

    async def send(connections: Connections) -> AnswerReceipt:
        from starter.operate import answers

        client, database, _ = connections
        return await answers.answer(client, database, process_id, step, given, by=ACTOR, idempotency_key=key)

    receipt = run_connected(data_dir, send)
    line = f"{process_id} has the answer to {step}"
    if receipt.status == "recorded":
        line = f"The answer to {step} is recorded; {process_id} gets it when a worker runs"
    print_result(receipt.model_dump(), line, as_json=as_json)


def _parse(data: str | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        parsed = json.loads(data)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise BadInput([FieldError(field="--data", message="must be a JSON object")])
    return parsed
