"""The commands `commerce customers …`: see customers, and what a person may ask for."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import AsJson, DataDir, out, print_line, query_shop, run_in_transaction
from starter.cli.tables import Column, moment_text, print_fact, print_table, time_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

LISTED = (
    Column("id"),
    Column("e-mail", flexible=True),
    Column("name", 2, flexible=True),
    Column("account", 3),
    Column("orders", right=True),
    Column("last order", 1),
)
ORDERS = (Column("order"), Column("status", styled=True), Column("placed"), Column("hold", 1, flexible=True))
ACCOUNT = {True: "account", False: "guest"}

customers_app = typer.Typer(help="Customers: see them, and export or forget a person.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The person's e-mail address")]


@customers_app.command("list")
def list_customers(
    search: Annotated[str, typer.Option(help="How the e-mail address starts")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Do not mask names and addresses")] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of customers, 1 to 200")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue after the customer with this id")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List customers, newest first. Names and addresses are masked.

    To find a person by name: commerce orders list --search NAME.
    """
    from commerce.queries import customers

    page, settings = query_shop(
        data_dir,
        lambda tx, _settings: customers.list_customers(tx, search=search, clear=clear, limit=limit, cursor=cursor),
    )
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.customers:
        rows = [
            (
                customer.customer_id,
                customer.email or "forgotten",
                customer.name or "",
                ACCOUNT[customer.has_account],
                f"{customer.orders:,}",
                time_text(customer.last_order_at, settings.zone),
            )
            for customer in page.customers
        ]
        print_table(LISTED, rows)
    else:
        print_line("No customers found")
    if page.next_cursor:
        print_line(f"There are more: --cursor {page.next_cursor}")


@customers_app.command()
def show(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id or e-mail address")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show a customer with their last 20 orders."""
    from commerce.queries import customers

    view, settings = query_shop(data_dir, lambda tx, _settings: customers.load_customer(tx, customer))
    if as_json:
        out.print_json(view.model_dump_json())
        return
    print_fact("customer", view.customer_id)
    print_fact("e-mail", view.email or "forgotten")
    print_fact("name", view.name)
    print_fact("account", f"since {moment_text(view.registered_at, settings.zone)}" if view.has_account else "none")
    print_fact("groups", ", ".join(view.groups))
    print_fact("known since", moment_text(view.created_at, settings.zone))
    print_fact("orders", f"{view.orders:,}")
    if view.last_orders:
        print_line("")
        rows = [
            (
                order.order_id,
                order.status.replace("_", " "),
                time_text(order.created_at, settings.zone),
                order.hold_reason or "",
            )
            for order in view.last_orders
        ]
        print_table(ORDERS, rows)


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
