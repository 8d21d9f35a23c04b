"""The commands `commerce intake …`: webhooks of the shop that could not be used."""

from typing import Annotated

import typer

from commerce.messages.base import count_of
from starter.cli.shared import AsJson, DataDir, out, print_line, print_result, run_in_transaction

intake_app = typer.Typer(help="List and retry webhooks of the shop that could not be used.", no_args_is_help=True)


@intake_app.command("list")
def list_unusable(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the webhooks that could not be used, with the reason."""
    from commerce.intake import unusable

    found = run_in_transaction(data_dir, unusable.list_unusable)
    if as_json:
        rows = [each._asdict() | {"received_at": each.received_at.isoformat()} for each in found]
        out.print_json(data=rows)
    elif not found:
        print_line("Every webhook of the shop could be used")
    else:
        for each in found:
            kept = "" if each.is_kept else "; not kept"
            print_line(f"{each.received_at:%Y-%m-%d %H:%M}  {each.platform}  {each.topic or '-'}  {each.delivery_id}")
            print_line(f"{'':16}  {each.problem}: {each.reason}{kept}")


@intake_app.command()
def retry(
    delivery_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ids of webhooks, as the list shows them; default: all"),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Let a worker take webhooks again that could not be used, for example after an update of this program."""
    from commerce.intake import unusable

    retried = run_in_transaction(data_dir, lambda tx: unusable.retry(tx, delivery_ids or ()))
    text = f"A worker takes {count_of(retried, 'webhook')} again"
    print_result({"retried": retried}, text if retried else "There is no such webhook with a body", as_json=as_json)
