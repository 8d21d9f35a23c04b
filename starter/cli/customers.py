"""The commands `commerce customers …`: what a person may ask for."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import AsJson, DataDir, out, run_in_transaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

customers_app = typer.Typer(help="Export and forget what is stored about a person.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The person's e-mail address")]


@customers_app.command(epilog="Example: commerce customers export ann@customer.example > ann.json")
def export(address: Address, data_dir: DataDir = None) -> None:
    """Print all that is stored about a person as JSON, except the hash of their password."""
    from commerce import person_export
    from commerce.email_addresses import normalise_address

    async def run(tx: "AsyncSession") -> dict[str, object]:
        return await person_export.export(tx, normalise_address(address))

    out.print_json(data=run_in_transaction(data_dir, run))


@customers_app.command()
def forget(address: Address, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Erase a person from account, orders, mails and carts. Nothing can undo this.

    Figures stay. It is refused while an order of theirs is open. Later imports and webhooks do not bring them back.
    """
    from commerce.messages.forgetting import ForgetCustomer
    from starter.cli.start import start_request

    return start_request(data_dir, "forget-customer", ForgetCustomer(email=address), as_json=as_json)
